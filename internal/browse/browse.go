// Package browse fills in sign-in pages the way a person does in a browser, by
// plain HTTP: it follows redirects, keeps cookies, types a name and a password
// into the form that asks for them and presses the button that it is told to.
// The demonstration and the end-to-end scripts use it, so that both go through
// the real pages.
//
// It understands forms, not scripts, which is all that the pages need.
package browse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// Limits of one visit: pages are small, and a journey has four of them.
const (
	maxPage  = 1 << 20
	maxForms = 6
	patience = 30 * time.Second
)

// Person is who sits at the browser.
type Person struct {
	Name, Password string
	// Code is typed where a page asks for the code that another device shows.
	Code string
	// Press is the value of the button to press on a page that has several;
	// empty means "approve".
	Press string
	// Follow is the text of a link that is followed, once, in place of filling in the
	// form of its page: another way to sign in.
	Follow string
	// HTTP is the transport; nil means the default one.
	HTTP http.RoundTripper
}

// Page is where the journey ended.
type Page struct {
	URL    *url.URL
	Status int
	// Text is what a reader sees, white space folded.
	Text string
	// Seen are the texts of all pages on the way, this one included.
	Seen []string
}

// Visit opens address and fills in forms until a page has none. A page that
// asks for the password a second time is an error: the first was refused.
func (p Person) Visit(ctx context.Context, address string) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	jar, err := cookiejar.New(nil)
	if err != nil {
		return Page{}, err
	}
	client := &http.Client{Jar: jar, Transport: p.HTTP}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Page{}, err
	}
	var seen []string
	typed, follow := false, p.Follow
	for range maxForms {
		page, form, link, err := load(client, req, follow)
		if err != nil {
			return page, err
		}
		seen = append(seen, page.Text)
		page.Seen = seen
		if link != "" {
			follow = ""
			if req, err = get(ctx, page.URL, link); err != nil {
				return page, err
			}
			continue
		}
		if form == nil || page.Status >= 400 && !form.secret {
			return page, nil
		}
		if form.secret && typed {
			return page, fmt.Errorf("the password was refused: %s", page.Text)
		}
		typed = typed || form.secret
		if req, err = form.fill(ctx, page.URL, p); err != nil {
			return page, err
		}
	}
	return Page{Seen: seen}, errors.New("the pages never end")
}

func load(client *http.Client, req *http.Request, follow string) (page Page, f *form, link string, err error) {
	res, err := client.Do(req)
	if err != nil {
		return Page{}, nil, "", err
	}
	defer res.Body.Close()
	root, err := html.Parse(io.LimitReader(res.Body, maxPage))
	if err != nil {
		return Page{}, nil, "", fmt.Errorf("read %s: %w", res.Request.URL.Redacted(), err)
	}
	page = Page{URL: res.Request.URL, Status: res.StatusCode, Text: text(root)}
	return page, findForm(root), findLink(root, follow), nil
}

// findLink is where the first link of this text leads; "" if there is none.
func findLink(root *html.Node, of string) string {
	for n := range root.Descendants() {
		if of != "" && n.Type == html.ElementNode && n.Data == "a" && text(n) == of {
			return attr(n, "href")
		}
	}
	return ""
}

func get(ctx context.Context, base *url.URL, link string) (*http.Request, error) {
	target, err := base.Parse(link)
	if err != nil {
		return nil, fmt.Errorf("link %q: %w", link, err)
	}
	return http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
}

// form is one HTML form with the values that it would send as it stands.
type form struct {
	action, method string
	values         url.Values
	text, password string // names of the fields to type into
	buttons        [][2]string
	secret         bool
}

// findForm returns the first form that posts; nil if the page has none.
func findForm(n *html.Node) *form {
	if n.Type == html.ElementNode && n.Data == "form" && strings.EqualFold(attr(n, "method"), "post") {
		f := &form{action: attr(n, "action"), method: http.MethodPost, values: url.Values{}}
		f.read(n)
		return f
	}
	for c := range n.ChildNodes() {
		if f := findForm(c); f != nil {
			return f
		}
	}
	return nil
}

func (f *form) read(n *html.Node) {
	for c := range n.ChildNodes() {
		f.read(c)
	}
	if n.Type != html.ElementNode {
		return
	}
	name, value := attr(n, "name"), attr(n, "value")
	switch kind := strings.ToLower(attr(n, "type")); {
	case n.Data == "button" && kind != "button", n.Data == "input" && kind == "submit":
		f.buttons = append(f.buttons, [2]string{name, value})
	case n.Data != "input" || name == "":
	case kind == "password":
		f.password, f.secret = name, true
	case kind == "hidden":
		f.values.Add(name, value)
	case kind == "" || kind == "text" || kind == "email":
		f.text = name
	}
}

func (f *form) fill(ctx context.Context, base *url.URL, p Person) (*http.Request, error) {
	switch {
	case f.text == "code" && p.Code != "":
		f.values.Set(f.text, p.Code)
	case f.text != "":
		f.values.Set(f.text, p.Name)
	}
	if f.password != "" {
		f.values.Set(f.password, p.Password)
	}
	if name, value, ok := f.press(p.Press); ok && name != "" {
		f.values.Set(name, value)
	}
	target, err := base.Parse(f.action)
	if err != nil {
		return nil, fmt.Errorf("form action %q: %w", f.action, err)
	}
	req, err := http.NewRequestWithContext(ctx, f.method, target.String(), strings.NewReader(f.values.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", base.Scheme+"://"+base.Host)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return req, nil
}

// press picks the button: the wanted one, else the first.
func (f *form) press(want string) (name, value string, ok bool) {
	if want == "" {
		want = "approve"
	}
	for _, b := range f.buttons {
		if b[1] == want {
			return b[0], b[1], true
		}
	}
	if len(f.buttons) == 0 {
		return "", "", false
	}
	return f.buttons[0][0], f.buttons[0][1], true
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// text is what a reader sees below n.
func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode && c.Parent.Data != "script" && c.Parent.Data != "style" && c.Parent.Data != "title" {
			b.WriteString(c.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
