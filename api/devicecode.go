package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// DeviceGrantType is that of POST /oauth/token for a device without a browser (RFC 8628
// section 3.4).
const DeviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"

// Codes of the token endpoint while a device waits (RFC 8628 section 3.5). They come in
// Error.OAuth.
const (
	AuthorizationPending = "authorization_pending"
	SlowDown             = "slow_down"
	// LockedOut refuses a device that was revoked (RFC 6749 section 5.2).
	LockedOut = "unauthorized_client"
	// NoSuchDevice sends the browser of a sign-in back that was to replace a device which the
	// user has not (an error of our own, as RFC 6749 section 8.5 lets there be).
	NoSuchDevice = "no_such_device"
)

// DeviceCode is the answer of POST /oauth/device (RFC 8628 section 3.2). There is no
// address with the code in it: the person types it, so that nobody is led there by a link.
type DeviceCode struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code" doc:"to be typed at the address, XXXX-XXXX"`
	VerificationURI string `json:"verification_uri"`
	ExpiresIn       int    `json:"expires_in" doc:"seconds"`
	Interval        int    `json:"interval" doc:"seconds between two polls"`
}

// AskDeviceCode asks for a code that a person types in a browser elsewhere.
func (c *Client) AskDeviceCode(ctx context.Context, form url.Values) (DeviceCode, error) {
	var out DeviceCode
	found, err := c.call(ctx, outgoing{
		method: http.MethodPost, path: "/oauth/device",
		mediaType: "application/x-www-form-urlencoded", body: []byte(form.Encode()),
	}, &out)
	if err == nil && (!found || out.DeviceCode == "" || out.UserCode == "" || out.VerificationURI == "") {
		err = foreign(c.URL, nil)
	}
	return out, err
}

// TypedCode is a code that a person typed on a device of his: POST /v1/device-codes.
type TypedCode struct {
	Code string `json:"code" maxLength:"64" doc:"that the other device shows"`
}

// WaitingDevice is the device that waits with that code, for a yes or a no.
type WaitingDevice struct {
	Request string `json:"request" doc:"to say yes or no to"`
	Device  string `json:"device_name"`
	Origin  string `json:"origin" doc:"its address"`
	Source  string `json:"source" doc:"address of the caller"`
	// Elsewhere says that the two are in different networks.
	Elsewhere bool      `json:"elsewhere"`
	ExpiresAt time.Time `json:"expires_at"`
}

// ApproveWaiting is the yes: POST /v1/device-codes/{request}/approve. The code is that of an
// authorization request with the parameter device_request, by which the person showed who he is.
type ApproveWaiting struct {
	Code         string `json:"code"`
	CodeVerifier string `json:"code_verifier"`
	RedirectURI  string `json:"redirect_uri"`
}
