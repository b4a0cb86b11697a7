// Package web is the look of the control plane's few pages: templates and one
// style sheet. A view model goes in, HTML comes out; it knows no request, no
// store and no session.
//
// But for the two pages that speak to a passkey, which name one script file, pages hold no
// script, and none holds inline style, so that the content security
// policy can forbid both, and text of strangers (names of users, devices) that
// slipped through the escaping of html/template would still be inert.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"strings"
)

//go:embed templates static
var files embed.FS

// SignIn asks for name and password.
type SignIn struct {
	Team, Request string
	// Device and Code say what the sign-in is for.
	Device, Code string
	// Project is what the person has to show again who he is for; empty for a sign-in.
	Project string
	// Dashboard tells that it is for the dashboard; then there is no Device.
	Dashboard bool
	// Replaces tells that the Device comes in the place of another one.
	Replaces bool
	// Name is filled in already after a failed try.
	Name string
	// Problem is what went wrong before; empty at first.
	Problem string
	// Providers are other ways to show who one is.
	Providers []Provider
}

// Provider is a link to an identity provider.
type Provider struct{ Title, Path string }

// Confirm asks whether a device may be signed in.
type Confirm struct {
	Team, Request string
	User          string // who is signed in at this browser
	Login         string // his Unix login
	Device        string
	Source        string // address of the browser
	Code          string // the terminal shows the same
	Project       string // what he has to show again who he is for; empty for a sign-in
	Origin        string // address of a device that waits elsewhere; it has no Code
	Elsewhere     bool   // in another network than the browser
	Replaces      bool   // it is to come in the place of a device
	InPlaceOf     string // which one that is, and is locked out; empty for none that is known here
	Missing       string // why there is no such device; then there is nothing to say yes to
}

// Device asks for the code of a device without a browser.
type Device struct{ Team, Problem string }

// Factor asks for a second factor.
type Factor struct {
	Team, Request string
	User          string
	TOTP, Codes   bool   // has an authenticator program, recovery codes
	Passkey       string // options for the browser, JSON; empty for who has none
	Problem       string
}

// Account is where a person sees to his own second factors.
type Account struct {
	Team, Request string
	User          string
	Device        string // which waits to be signed in; empty for none
	Must          bool   // he has to add one before he may go on
	Factors       []AccountFactor
	Codes         int // recovery codes that are left
	Passkeys      bool
	Problem       string
}

// AccountFactor is one second factor.
type AccountFactor struct {
	ID, Name    string
	Passkey     bool
	Since, Used string
}

// TOTP shows a new secret for an authenticator program and asks for its first code.
type TOTP struct {
	Team, Request string
	Secret        string // as it is typed
	URI           string // as a QR code has it
	Problem       string
}

// Passkey asks the browser for a new passkey.
type Passkey struct {
	Team, Request string
	Options       string // JSON
}

// Recovery shows recovery codes, once.
type Recovery struct {
	Team, Request string
	Next          string // the path to go on to
	Codes         []string
}

// Password asks for the present password and another one.
type Password struct{ Team, Request, User, Problem string }

// Setup asks for a set-up code and a new password.
type Setup struct {
	Team, Problem string
	Code          string // as it was typed
	User          string // whose password is chosen; empty before the code was good
}

// Message is a page with nothing to do on it.
type Message struct {
	Team, Title, Text string
	Hint              string // what to do next
	Path, Link        string // where to go next, and what that is called; empty for nowhere
	ID                string // finds the cause in the log
}

// Docs is the documentation of the API.
type Docs struct {
	Team, URL, Version string
	Groups             []Group
	Types              []Type
}

// Group is the calls about one kind of thing.
type Group struct {
	Name  string
	Calls []Call
}

// Call is one route.
type Call struct {
	ID, Method, Path, Doc, Access string
	Parameters                    []Field
	In, Out                       string // names of Types; empty for none
	List                          bool   // Out is a page of them
}

// Type is one JSON object of the wire.
type Type struct {
	Name   string
	Fields []Field
}

// Field is one member of an object, or a parameter.
type Field struct {
	Name, Type, Doc string
	Ref             string // name of a Type, if it is one
	Needed          bool
}

// Pages renders. Make it with New; it is safe for concurrent use.
type Pages struct {
	templates *template.Template
	static    map[string]Static
}

// Static is a file that browsers may keep: its path has its hash.
type Static struct {
	Type string
	Body []byte
}

// New reads the templates. They are part of the program, so that an error is a
// mistake of ours.
func New() (*Pages, error) {
	p := &Pages{static: map[string]Static{}}
	paths := map[string]string{}
	for name, media := range map[string]string{"cardea.css": "text/css; charset=utf-8", "cardea.svg": "image/svg+xml", "passkey.js": "text/javascript; charset=utf-8"} {
		body, err := fs.ReadFile(files, "static/"+name)
		if err != nil {
			return nil, fmt.Errorf("read style: %w", err)
		}
		sum := sha256.Sum256(body)
		paths[name] = "/static/" + hex.EncodeToString(sum[:8]) + "/" + name
		p.static[paths[name]] = Static{media, body}
	}
	t, err := template.New("").Funcs(template.FuncMap{
		"static":  func(name string) string { return paths[name] },
		"qr":      qrPath,
		"otpauth": otpauth,
	}).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("read pages: %w", err)
	}
	p.templates = t
	return p, nil
}

// otpauth lets an address of that scheme through, which html/template does not know.
func otpauth(uri string) template.URL {
	if !strings.HasPrefix(uri, "otpauth://totp/") {
		return "#"
	}
	return template.URL(uri)
}

// Static returns the file at a path that a page names.
func (p *Pages) Static(path string) (Static, bool) {
	f, ok := p.static[path]
	return f, ok
}

// SignIn writes the page that asks for name and password.
func (p *Pages) SignIn(w io.Writer, v SignIn) error { return p.render(w, "signin.html", v) }

// Confirm writes the page that asks whether to sign the device in.
func (p *Pages) Confirm(w io.Writer, v Confirm) error { return p.render(w, "confirm.html", v) }

// Device writes the page that asks for a device's code.
func (p *Pages) Device(w io.Writer, v Device) error { return p.render(w, "device.html", v) }

// Factor writes the page that asks for a second factor.
func (p *Pages) Factor(w io.Writer, v Factor) error { return p.render(w, "factor.html", v) }

// Password writes the page on which a person changes his password.
func (p *Pages) Password(w io.Writer, v Password) error { return p.render(w, "password.html", v) }

// Account writes the page of a person's own second factors.
func (p *Pages) Account(w io.Writer, v Account) error { return p.render(w, "account.html", v) }

// TOTP writes the page with a new secret.
func (p *Pages) TOTP(w io.Writer, v TOTP) error { return p.render(w, "totp.html", v) }

// Passkey writes the page that asks for a new passkey.
func (p *Pages) Passkey(w io.Writer, v Passkey) error { return p.render(w, "passkey.html", v) }

// Recovery writes the page with recovery codes.
func (p *Pages) Recovery(w io.Writer, v Recovery) error { return p.render(w, "recovery.html", v) }

// Setup writes the page of the first administrator.
func (p *Pages) Setup(w io.Writer, v Setup) error { return p.render(w, "setup.html", v) }

// Message writes a page that tells something.
func (p *Pages) Message(w io.Writer, v Message) error { return p.render(w, "message.html", v) }

// Docs writes the documentation of the API.
func (p *Pages) Docs(w io.Writer, v Docs) error { return p.render(w, "docs.html", v) }

// render writes nothing unless the whole page came out.
func (p *Pages) render(w io.Writer, name string, v any) error {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, v); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	_, err := b.WriteTo(w)
	return err
}
