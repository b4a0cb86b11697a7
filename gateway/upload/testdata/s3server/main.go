// Command s3server is the S3 server of the tests: versitygw over a folder. It is that
// program's parts and none of its other backends, and a module of its own with this
// repository's versions of what both use, so that it is compiled in a third of the time.
//
//	s3server -listen ADDRESS -access ID -secret SECRET [-versions FOLDER] FOLDER
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	var o posix.PosixOpts
	c := embedgw.Config{Region: "us-east-1", Quiet: true}
	c.MaxConnections, c.MaxRequests, c.MultipartMaxParts = 250_000, 100_000, 10_000 // as by itself
	listen := flag.String("listen", "127.0.0.1:7070", "address")
	flag.StringVar(&c.RootUserAccess, "access", "", "access key's id")
	flag.StringVar(&c.RootUserSecret, "secret", "", "access key's secret")
	flag.StringVar(&o.VersioningDir, "versions", "", "folder of versions that were replaced")
	flag.Parse()
	c.Ports = []string{*listen}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	folder, err := posix.New(flag.Arg(0), meta.XattrMeta{}, o)
	if err != nil {
		log.Fatal(err)
	}
	if err := embedgw.RunVersityGW(ctx, folder, &c); err != nil {
		log.Fatal(err)
	}
}
