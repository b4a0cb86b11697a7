//go:build darwin && enclave

package enclave

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/ebitengine/purego"
)

// supported says that this program can speak to a Secure Enclave, not that there is one.
func supported() error { return nil }

// libraries are loaded out of the system's own cache; these paths are no files any more.
var libraries = [...]string{
	"/System/Library/Frameworks/Security.framework/Security",
	"/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation",
	"/usr/lib/libobjc.A.dylib",
}

// Constants of CFString.h and CFNumber.h.
const (
	utf8       = 0x08000100 // kCFStringEncodingUTF8
	sInt32Type = 3          // kCFNumberSInt32Type
)

// maxText is the longest text that is read out of a CFString, in bytes.
const maxText = 1 << 10

// ref is any CFTypeRef. What a function of ours returns has to be released; zero is nothing.
type ref uintptr

// framework is Security.framework with what it needs. Its functions are called as their
// headers say; a CFIndex is an int, and a Boolean a bool.
type framework struct {
	loaded []uintptr

	poolPush func() uintptr
	poolPop  func(pool uintptr)

	retain     func(ref) ref
	drop       func(ref) // CFRelease
	equal      func(a, b ref) bool
	typeOf     func(ref) uint
	typeOfData func() uint

	newString     func(allocator ref, text string, encoding uint32) ref
	readString    func(text ref, into []byte, size int, encoding uint32) bool
	newNumber     func(allocator ref, kind int, value *int32) ref
	newData       func(allocator ref, bytes []byte, size int) ref
	sizeOfData    func(ref) int
	bytesOfData   func(ref) unsafe.Pointer
	newDictionary func(allocator ref, names, values []ref, count int, nameCalls, valueCalls uintptr) ref
	lookUp        func(dictionary, name ref) ref // not to be released
	errorDomain   func(ref) ref                  // not to be released
	errorCode     func(ref) int
	describeError func(ref) ref

	newAccess    func(allocator, when ref, flags uint, failed *ref) ref
	generateKey  func(attributes ref, failed *ref) ref
	restoreKey   func(data, attributes ref, failed *ref) ref
	attributesOf func(key ref) ref
	publicKey    func(key ref) ref
	externalOf   func(key ref, failed *ref) ref
	signWith     func(key, algorithm, data ref, failed *ref) ref
}

// system loads the frameworks, which takes some milliseconds: nothing does so at the start
// of a program.
func system() (chip, error) {
	f := &framework{}
	for _, path := range libraries {
		l, err := purego.Dlopen(path, purego.RTLD_LAZY|purego.RTLD_GLOBAL)
		if err != nil {
			return nil, fmt.Errorf("load what speaks to the Secure Enclave: %w", err)
		}
		f.loaded = append(f.loaded, l)
	}
	for name, function := range f.functions() {
		at, err := f.address(name)
		if err != nil {
			return nil, err
		}
		purego.RegisterFunc(function, at)
	}
	return f, nil
}

// functions names what the fields are.
func (f *framework) functions() map[string]any {
	return map[string]any{
		"objc_autoreleasePoolPush": &f.poolPush,
		"objc_autoreleasePoolPop":  &f.poolPop,

		"CFRetain":        &f.retain,
		"CFRelease":       &f.drop,
		"CFEqual":         &f.equal,
		"CFGetTypeID":     &f.typeOf,
		"CFDataGetTypeID": &f.typeOfData,

		"CFStringCreateWithCString": &f.newString,
		"CFStringGetCString":        &f.readString,
		"CFNumberCreate":            &f.newNumber,
		"CFDataCreate":              &f.newData,
		"CFDataGetLength":           &f.sizeOfData,
		"CFDataGetBytePtr":          &f.bytesOfData,
		"CFDictionaryCreate":        &f.newDictionary,
		"CFDictionaryGetValue":      &f.lookUp,
		"CFErrorGetDomain":          &f.errorDomain,
		"CFErrorGetCode":            &f.errorCode,
		"CFErrorCopyDescription":    &f.describeError,

		"SecAccessControlCreateWithFlags":  &f.newAccess,
		"SecKeyCreateRandomKey":            &f.generateKey,
		"SecKeyCreateWithData":             &f.restoreKey,
		"SecKeyCopyAttributes":             &f.attributesOf,
		"SecKeyCopyPublicKey":              &f.publicKey,
		"SecKeyCopyExternalRepresentation": &f.externalOf,
		"SecKeyCreateSignature":            &f.signWith,
	}
}

// address finds an exported name. purego would panic without it.
func (f *framework) address(name string) (uintptr, error) {
	for _, l := range f.loaded {
		if at, err := purego.Dlsym(l, name); err == nil {
			return at, nil
		}
	}
	return 0, fmt.Errorf("this macOS has no %s", name)
}

// constant reads a variable that holds a reference, and retains what it holds.
func (f *framework) constant(name symbol) (ref, error) {
	at, err := f.address(string(name))
	if err != nil {
		return 0, err
	}
	return f.retain(**(**ref)(unsafe.Pointer(&at))), nil
}

// pool catches what Apple's code releases later: its threads have a pool for that, and
// ours have none.
func (f *framework) pool() (drain func()) {
	runtime.LockOSThread()
	p := f.poolPush()
	return func() {
		f.poolPop(p)
		runtime.UnlockOSThread()
	}
}

func (f *framework) release(all ...ref) {
	for _, r := range all {
		if r != 0 { // which CFRelease would die of
			f.drop(r)
		}
	}
}

// object makes what a value of attributes stands for.
func (f *framework) object(value any) (r ref, err error) {
	switch v := value.(type) {
	case symbol:
		return f.constant(v)
	case text:
		r = f.newString(0, string(v), utf8)
	case int32:
		r = f.newNumber(0, sInt32Type, &v)
	case []byte:
		r = f.newData(0, v, len(v))
	case access:
		return f.access(v)
	case attributes:
		return f.dictionary(v)
	}
	if r == 0 {
		return 0, fmt.Errorf("macOS takes no %T", value)
	}
	return r, nil
}

func (f *framework) access(a access) (ref, error) {
	when, err := f.constant(a.when)
	if err != nil {
		return 0, err
	}
	defer f.release(when)
	var failed ref
	r := f.newAccess(0, when, a.flags, &failed)
	return f.result(r, failed)
}

func (f *framework) dictionary(in attributes) (ref, error) {
	var names, values []ref
	defer func() { f.release(slices.Concat(names, values)...) }() // the dictionary retains them
	for _, a := range in {
		name, err := f.object(a.name)
		if err != nil {
			return 0, err
		}
		names = append(names, name)
		value, err := f.object(a.value)
		if err != nil {
			return 0, err
		}
		values = append(values, value)
	}
	nameCalls, err := f.address("kCFTypeDictionaryKeyCallBacks")
	if err != nil {
		return 0, err
	}
	valueCalls, err := f.address("kCFTypeDictionaryValueCallBacks")
	if err != nil {
		return 0, err
	}
	r := f.newDictionary(0, names, values, len(in), nameCalls, valueCalls)
	return f.result(r, 0)
}

// result is r, or why there is none.
func (f *framework) result(r, failed ref) (ref, error) {
	defer f.release(failed)
	switch {
	case r != 0:
		return r, nil
	case failed == 0:
		return 0, errors.New("macOS refuses and does not say why")
	}
	said := f.describeError(failed)
	defer f.release(said)
	return 0, &failure{domain: f.text(f.errorDomain(failed)), code: f.errorCode(failed), description: f.text(said)}
}

// text is what a CFString says, or nothing if it is too long.
func (f *framework) text(r ref) string {
	into := make([]byte, maxText)
	if r == 0 || !f.readString(r, into, len(into), utf8) {
		return ""
	}
	said, _, _ := bytes.Cut(into, []byte{0})
	return string(said)
}

// content copies what a CFData holds; nil if r is none.
func (f *framework) content(r ref) []byte {
	if r == 0 || f.typeOf(r) != f.typeOfData() {
		return nil
	}
	return bytes.Clone(unsafe.Slice((*byte)(f.bytesOfData(r)), f.sizeOfData(r)))
}

func (f *framework) generate(a attributes) (handle, error) {
	return f.key(a, f.generateKey)
}

func (f *framework) restore(a attributes) (handle, error) {
	return f.key(a, func(in ref, failed *ref) ref {
		nothing := f.newData(0, nil, 0)
		defer f.release(nothing)
		return f.restoreKey(nothing, in, failed)
	})
}

func (f *framework) key(a attributes, from func(ref, *ref) ref) (handle, error) {
	defer f.pool()()
	in, err := f.dictionary(a)
	if err != nil {
		return nil, err
	}
	defer f.release(in)
	var failed ref
	made := from(in, &failed)
	if made, err = f.result(made, failed); err != nil {
		return nil, err
	}
	return &secKey{f, made}, nil
}

// secKey is a SecKeyRef of a private key.
type secKey struct {
	in  *framework
	key ref
}

func (k *secKey) release() { k.in.release(k.key) }

func (k *secKey) describe() (is description, err error) {
	f := k.in
	defer f.pool()()
	public := f.publicKey(k.key)
	if public == 0 {
		return is, errors.New("macOS does not tell the public key")
	}
	defer f.release(public)
	var failed ref
	point := f.externalOf(public, &failed)
	if point, err = f.result(point, failed); err != nil {
		return is, err
	}
	defer f.release(point)
	is.point = f.content(point)

	all, err := f.result(f.attributesOf(k.key), 0)
	if err != nil {
		return is, err
	}
	defer f.release(all)
	var names [3]ref
	defer func() { f.release(names[:]...) }()
	for i, name := range []any{tokenID, inSecureEnclave, tokenOID} {
		if names[i], err = f.object(name); err != nil {
			return is, err
		}
	}
	token := f.lookUp(all, names[0])
	is.inEnclave = token != 0 && f.equal(token, names[1])
	is.blob = f.content(f.lookUp(all, names[2]))
	return is, nil
}

func (k *secKey) sign(by symbol, digest []byte) ([]byte, error) {
	f := k.in
	defer f.pool()()
	algorithm, err := f.constant(by)
	if err != nil {
		return nil, err
	}
	defer f.release(algorithm)
	data, err := f.object(digest)
	if err != nil {
		return nil, err
	}
	defer f.release(data)
	var failed ref
	signature := f.signWith(k.key, algorithm, data, &failed)
	if signature, err = f.result(signature, failed); err != nil {
		return nil, err
	}
	defer f.release(signature)
	return f.content(signature), nil
}
