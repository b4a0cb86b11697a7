package spool

// Figures are what there is to say of a spool in numbers.
type Figures struct {
	Free, Reserve int64 // bytes of the file system
	Low           bool
	Recording     int   // sessions that are being recorded
	Waiting       int   // segments that are here alone
	WaitingBytes  int64 // of them
	Untold        int   // recordings of which the control plane does not know all
	Quarantined   int   // sessions of which something is set aside
	Failing       string
}

// Figures counts.
func (s *Spool) Figures() Figures {
	f := Figures{Recording: s.recording()}
	for _, e := range s.all() {
		e.mu.Lock()
		for _, seg := range e.meta.Segments {
			if seg.Kept == Here {
				f.Waiting++
				f.WaitingBytes += seg.Size
			}
		}
		if e.meta.Told != digest(e.meta.report()) {
			f.Untold++
		}
		e.mu.Unlock()
	}
	if err := s.disk.failing(); err != nil {
		f.Failing = err.Error()
	}
	s.mu.Lock()
	f.Quarantined = s.aside
	s.mu.Unlock()
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	f.Free, f.Reserve, f.Low = s.room.left, s.room.reserve, s.room.low
	return f
}
