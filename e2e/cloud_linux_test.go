package e2e

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/cardea-ssh/cardea/server-agent/metadata/metadatatest"
)

// metadataAddress is where all clouds have their metadata service.
const metadataAddress = "169.254.169.254"

// azure is a cloud whose key is the script's own.
type azure struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

func newAzure() (*azure, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "metadata.azure.com"}, DNSNames: []string{"metadata.azure.com"},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &azure{key, cert}, err
}

func (a *azure) root() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// attested is what Azure signs for one virtual machine; "" if it cannot.
func (a *azure) attested(vm, subscription, nonce string) string {
	const form = "01/02/06 15:04:05 -0700"
	now := time.Now().UTC()
	raw, err := json.Marshal(map[string]any{"nonce": nonce, "vmId": vm, "subscriptionId": subscription,
		"timeStamp": map[string]string{"createdOn": now.Format(form), "expiresOn": now.Add(6 * time.Hour).Format(form)}})
	if err != nil {
		return ""
	}
	d, err := pkcs7.NewSignedData(raw)
	if err != nil {
		return ""
	}
	d.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := d.AddSigner(a.cert, a.key, pkcs7.SignerInfoConfig{}); err != nil {
		return ""
	}
	if raw, err = d.Finish(); err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// metadataVerb is: metadata HOST VM SUBSCRIPTION.
func metadataVerb(c *call, args []string) (int, error) {
	if len(args) != 3 || c.azure == nil {
		return 0, errUsage
	}
	h, err := c.world.host(args[0])
	if err != nil {
		return 0, err
	}
	vm, subscription := args[1], args[2]
	if _, err := h.Run(context.Background(), "ip", "address", "replace", metadataAddress+"/32", "dev", "lo"); err != nil {
		return 0, err
	}
	l, err := h.Listen("tcp", metadataAddress+":80")
	if err != nil {
		return 0, err
	}
	cloud := c.azure
	service := &http.Server{Handler: &metadatatest.Instance{Cloud: "azure", ID: vm, Account: subscription, Region: "westeurope",
		Attested: func(nonce string) string { return cloud.attested(vm, subscription, nonce) }}}
	c.t.Cleanup(func() { service.Close() })
	go service.Serve(l)
	return 0, nil
}
