package spool

import (
	"crypto/rand"
	"testing"

	"github.com/cardea-ssh/cardea/recording"
)

// BenchmarkBegin is what a user waits for before his session begins.
func BenchmarkBegin(b *testing.B) {
	r := newRig(b)
	s := r.open(func(o *Options) { o.syncEvery = SyncEvery; o.Log = nil })
	for b.Loop() {
		rec := r.begin(s, 0)
		b.StopTimer()
		rec.Close(recording.Ended{Cause: "client"})
		rec.session.Finish("client", r.key)
		b.StartTimer()
	}
	s.Close()
}

// BenchmarkOutput is a session that prints as fast as it is recorded.
func BenchmarkOutput(b *testing.B) {
	r := newRig(b)
	s := r.open(func(o *Options) { o.syncEvery = SyncEvery; o.Log = nil })
	rec := r.begin(s, 0)
	data := make([]byte, 32<<10)
	rand.Read(data)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := rec.Record(recording.Event{Channel: 1, Kind: recording.Output, Data: data}); err != nil {
			b.Fatal(err)
		}
	}
	rec.Close(recording.Ended{Cause: "client"})
	rec.session.Finish("client", r.key)
	s.Close()
}

// BenchmarkBacklog is one look at what waits after a store was away for long.
func BenchmarkBacklog(b *testing.B) {
	r := newRig(b)
	s := r.open(func(o *Options) { o.Log = nil })
	for range 5000 {
		rec := r.begin(s, 0)
		rec.Close(recording.Ended{Cause: "client"})
		rec.session.Finish("client", r.key)
	}
	for b.Loop() {
		if len(s.Jobs(r.key)) != 10_000 {
			b.Fatal("not all wait")
		}
	}
	s.Close()
}
