package recording

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// When a frame is compressed. What does not get smaller is stored as it is.
const (
	// minPack is the least that is worth it, in bytes: a line on a screen saves less than
	// it costs.
	minPack = 512
	// maxSkip bounds how many frames are not even tried after some that did not get
	// smaller: files that are compressed already come in long runs.
	maxSkip = 63
)

// packer remembers whether it was worth the trouble lately.
type packer struct{ skip, penalty int }

// wants reports whether a batch of that size should be tried.
func (p *packer) wants(size int) bool {
	if size < minPack {
		return false
	}
	if p.skip > 0 {
		p.skip--
		return false
	}
	return true
}

// tried takes the outcome, and reports whether the packed form is to be stored: it
// must save an eighth.
func (p *packer) tried(size, packed int) bool {
	if packed <= size-size/8 {
		p.penalty = 0
		return true
	}
	p.penalty = min(2*p.penalty+1, maxSkip)
	p.skip = p.penalty
	return false
}

// zstd encoders and decoders have tables of some 100 KiB. They belong to nobody
// between two frames, and what is not used the collector takes.
var (
	encoders = sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(maxBatch), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	}}
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxBatch))
		if err != nil {
			panic(err) // the options are constants
		}
		return d
	}}
)

// pack compresses a batch behind dst.
func pack(dst, batch []byte) []byte {
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	return e.EncodeAll(batch, dst)
}

// unpack decompresses a batch behind dst. It may be as large as maxBatch.
func unpack(dst, packed []byte) ([]byte, error) {
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	out, err := d.DecodeAll(packed, dst)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, errors.New("a frame is larger than one may be")
	}
	if err != nil {
		return nil, fmt.Errorf("a frame does not decompress: %w", err)
	}
	return out, nil
}
