package recording

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// nowhere takes segments and keeps nothing: what remains is the cost of the format.
type nowhere struct{}

func (nowhere) Create(int) (Segment, error) { return nowhere{}, nil }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Sync() error                 { return nil }
func (nowhere) Close() error                { return nil }

func benchWriter(b *testing.B) *Writer {
	b.Helper()
	_, recipients := newReaderKey(b)
	key := newKey(b)
	w, err := NewWriter(nowhere{}, WriterOptions{
		Header: Header{Session: "ses_aaaaaaaaaaaaaaaaaaaa"}, Recipients: recipients,
		Key: func() (ed25519.PrivateKey, error) { return key, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.Close(Ended{Cause: "client"}) })
	return w
}

// text is output as programs print it.
func textOf(n int) []byte {
	line := []byte("2026-11-21T09:18:28Z host app[4711]: request 0x7f3a took 12.5 ms, status 200\r\n")
	out := make([]byte, 0, n+len(line))
	for i := 0; len(out) < n; i++ {
		line[27] = byte('a' + i%26)
		line[45] = byte('0' + i%10)
		line[58] = byte('0' + i/10%10)
		out = append(out, line...)
	}
	return out[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func BenchmarkRecord(b *testing.B) {
	for _, bc := range []struct {
		name string
		data []byte
	}{
		{"noise32KiB", noise(32 << 10)}, {"zeros32KiB", make([]byte, 32<<10)}, {"text32KiB", textOf(32 << 10)}, {"text2KiB", textOf(2 << 10)}, {"echo", []byte("x")}, {"line", textOf(80)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			w := benchWriter(b)
			b.SetBytes(int64(len(bc.data)))
			b.ReportAllocs()
			defer perGB(b, len(bc.data))()
			start := time.Now()
			for b.Loop() {
				if err := w.Record(Event{At: time.Since(start), Channel: 1, Kind: Output, Data: bc.data}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The parts that a frame costs, alone.
func BenchmarkParts(b *testing.B) {
	data := noise(32 << 10)
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			defer perGB(b, len(data))()
			for b.Loop() {
				f()
			}
		})
	}
	block, _ := aes.NewCipher(data[:32])
	gcm, _ := cipher.NewGCM(block)
	dst := make([]byte, 0, len(data)+16)
	run("aes-256-gcm", func() { gcm.Seal(dst, data[:12], data, nil) })
	run("sha256", func() { sha256.Sum256(data) })
	enc, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	out := make([]byte, 0, 64<<10)
	run("zstd-noise", func() { enc.EncodeAll(data, out) })
	text := textOf(32 << 10)
	run("zstd-text", func() { enc.EncodeAll(text, out) })
}

// perGB reports the processor time that a gigabyte costs: unlike the wall, it means
// something on a machine that does other things too.
func perGB(b *testing.B, size int) func() {
	before := cpu()
	return func() {
		spent := cpu() - before
		b.ReportMetric(spent.Seconds()/(float64(b.N)*float64(size))*1e9, "cpu-s/GB")
		b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
	}
}
