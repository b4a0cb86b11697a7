// Package metadata asks the cloud on which this host runs what it says of it:
// the instance's id, its place, addresses and tags, and the signed papers with
// which the host can enrol.
//
// All three clouds answer at the same link-local address, and each wants a
// header that a browser or a proxy would not send. Whatever runs on the host can
// ask the same, so nothing of this is a secret, and only what the cloud has
// signed proves anything to others.
//
// The client goes to that address alone: no proxy of the environment, no
// redirect, no name that somebody could resolve to another place. Answers are
// bounded in time and size. An address that belongs to no cloud may be anybody's
// on the local network; so what is learnt here grants nothing.
//
// References: docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html,
// cloud.google.com/compute/docs/metadata/querying-metadata,
// learn.microsoft.com/azure/virtual-machines/instance-metadata-service.
package metadata

import "time"

// Cloud is one whose metadata are understood.
type Cloud string

// The clouds.
const (
	AWS   Cloud = "aws"
	GCP   Cloud = "gcp"
	Azure Cloud = "azure"
)

// Known reports whether c is one of them.
func Known(c Cloud) bool { return c == AWS || c == GCP || c == Azure }

const (
	// address is where all three answer.
	address = "http://169.254.169.254"
	// callLimit bounds one request: an honest service is a hop away.
	callLimit = 2 * time.Second
	// tries are made of one request, because the services answer 429 and 503
	// for moments; between two lies pause, a little longer each time.
	tries, pause = 3, 200 * time.Millisecond
	// maxAnswer bounds one answer, in bytes. Papers have 2 to 6 KiB, Azure's
	// description of an instance up to 30.
	maxAnswer = 64 << 10
	// maxTags bounds the tags; AWS allows 50 of an instance, Azure too, GCP 64.
	maxTags = 64
	// maxValue bounds one id, name, tag or address, in bytes.
	maxValue = 512
)

// Facts are what the cloud says of the host, unsigned. What it does not say is
// empty.
type Facts struct {
	Cloud Cloud
	// Instance is the id that the cloud never gives again: i-0abc… (AWS), a
	// number (GCP), a UUID (Azure).
	Instance string
	// Account is the AWS account, the GCP project's id, the Azure subscription.
	Account string
	// Region is eu-central-1, europe-west3, westeurope; Zone is within it.
	Region, Zone string
	// Name is the instance's name in GCP and Azure. In AWS it is a tag.
	Name string
	// PrivateAddress and PublicAddress are IP addresses of the first interface.
	PrivateAddress, PublicAddress string
	// Tags are those of the instance; AWS tells them only where "instance tags in
	// metadata" is allowed for the instance. GCP's network tags have no value.
	Tags map[string]string
}
