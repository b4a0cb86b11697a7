// Package config is how every Cardea program gets its options: a struct whose
// fields are the manual, filled from a flag, a CARDEA_… variable, a key of a
// YAML file, or the value the field had before, in that order of precedence.
//
//	type options struct {
//		Listen  string        `name:"listen" help:"address to listen on"`
//		Timeout time.Duration `name:"dial-timeout" help:"how long to try a server"`
//	}
//	opt := options{Listen: ":7234", Timeout: 10 * time.Second}
//	loader := config.Bind(cmd.Flags(), &opt, "/etc/cardea/gateway.yaml")
//	// … the command parses its flags …
//	err := loader.Load(os.LookupEnv)
//
// One name gives all three: dial-timeout is --dial-timeout,
// CARDEA_DIAL_TIMEOUT and the key dial_timeout. No program needs the file, but
// a key in it that means nothing is fatal, because a misspelt limit is a limit
// that does not hold.
package config

import (
	"encoding"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cardea-ssh/cardea/internal/span"
)

// FileFlag is the name of the option that says which file to read.
const FileFlag = "config"

// EnvPrefix begins the name of every variable.
const EnvPrefix = "CARDEA_"

// Path is the file that was looked for, also if there is none.
func (l *Loader) Path() string { return l.file }

// Source says where the value of an option came from.
type Source string

// The sources, from the weakest to the strongest.
const (
	FromDefault Source = "default"
	FromFile    Source = "file"
	FromEnv     Source = "environment"
	FromFlag    Source = "flag"
)

// Loader fills one options struct.
type Loader struct {
	options []*option
	flags   *pflag.FlagSet
	file    string // what --config or the default says
	loaded  string // what was read, "" if nothing
}

// option is one field. It is the pflag.Value of its flag, too.
type option struct {
	name, help string
	field      reflect.Value
	source     Source
	fromFlag   []string // the texts of the flag, in order
}

// Bind adds a flag for every field of the struct that into points at, and
// --config for the file. file is read if it exists; "" means there is none by
// default. Fields of embedded structs count as the struct's own; a field
// without a name tag is no option.
//
// A field is a string, bool, int, int64, uint16, float64, time.Duration,
// []string, map[string]string, map[string][]string or an encoding.TextUnmarshaler.
// Of the last map a text is key=word, once for each word of the key's list. Bind panics on
// anything else and on a name given twice: both are mistakes in the program.
func Bind(flags *pflag.FlagSet, into any, file string) *Loader {
	l := &Loader{flags: flags, file: file}
	flags.StringVar(&l.file, FileFlag, file, "YAML file with options (variable "+EnvName(FileFlag)+")")
	l.add(reflect.ValueOf(into).Elem())
	return l
}

func (l *Loader) add(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			l.add(v.Field(i))
			continue
		}
		name := f.Tag.Get("name")
		if name == "" {
			continue
		}
		o := &option{name: name, help: f.Tag.Get("help"), field: v.Field(i), source: FromDefault}
		if !o.supported() {
			panic(fmt.Sprintf("config: option %s has the unsupported type %s", name, f.Type))
		}
		l.options = append(l.options, o)
		flag := l.flags.VarPF(o, name, f.Tag.Get("short"), o.help)
		if f.Type.Kind() == reflect.Bool {
			flag.NoOptDefVal = "true"
		}
	}
}

// Load reads the file and the variables and gives every option the value of
// its strongest source. Call it after the flags were parsed. lookup is
// os.LookupEnv, or a test's.
func (l *Loader) Load(lookup func(string) (string, bool)) error {
	named := l.flags.Changed(FileFlag)
	if v, ok := lookup(EnvName(FileFlag)); ok && !named {
		l.file, named = v, true
	}
	if err := l.readFile(named); err != nil {
		return err
	}
	for _, o := range l.options {
		if text, ok := lookup(EnvName(o.name)); ok {
			if err := o.set(FromEnv, o.split(text)); err != nil {
				return fmt.Errorf("variable %s: %w", EnvName(o.name), err)
			}
		}
		if o.fromFlag != nil {
			if err := o.set(FromFlag, o.fromFlag); err != nil {
				return fmt.Errorf("--%s: %w", o.name, err)
			}
		}
	}
	return nil
}

// File is the file that was read, or "".
func (l *Loader) File() string { return l.loaded }

// Source says where the value of the option called name came from.
func (l *Loader) Source(name string) Source {
	for _, o := range l.options {
		if o.name == name {
			return o.source
		}
	}
	return ""
}

// Variables are those that Load reads.
func (l *Loader) Variables() []string {
	names := []string{EnvName(FileFlag)}
	for _, o := range l.options {
		names = append(names, EnvName(o.name))
	}
	return names
}

// EnvName is the variable of the option called name.
func EnvName(name string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// key is the option's key in the file.
func (o *option) key() string { return strings.ReplaceAll(o.name, "-", "_") }

// String is the option's value as pflag shows it for the default.
func (o *option) String() string {
	if o == nil || !o.field.IsValid() || o.field.IsZero() {
		return ""
	}
	switch v := o.field.Interface().(type) {
	case []string:
		return strings.Join(v, ",")
	case map[string]string:
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, k+"="+v[k])
		}
		return strings.Join(pairs, ",")
	case map[string][]string:
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			for _, word := range v[k] {
				pairs = append(pairs, k+"="+word)
			}
		}
		return strings.Join(pairs, ",")
	default:
		return fmt.Sprint(v)
	}
}

// Set is called by pflag for every time the flag is given.
func (o *option) Set(text string) error {
	texts := append(slices.Clone(o.fromFlag), o.split(text)...)
	if !o.many() {
		texts = []string{text}
	}
	if err := o.set(FromFlag, texts); err != nil {
		return err
	}
	o.fromFlag = texts
	return nil
}

// Type is the word that pflag's usage text puts behind the flag.
func (o *option) Type() string {
	switch o.field.Interface().(type) {
	case time.Duration:
		return "duration"
	case []string:
		return "strings"
	case map[string]string:
		return "key=value"
	case map[string][]string:
		return "key=word"
	case int, int64, uint16:
		return "int"
	case bool:
		return "bool"
	}
	return "string"
}

// many reports whether the option holds several values, which a flag may give
// one by one and all sources with commas.
func (o *option) many() bool {
	k := o.field.Kind()
	return k == reflect.Slice || k == reflect.Map
}

func (o *option) split(text string) []string {
	if !o.many() {
		return []string{text}
	}
	texts := []string{}
	for t := range strings.SplitSeq(text, ",") {
		if t = strings.TrimSpace(t); t != "" {
			texts = append(texts, t)
		}
	}
	return texts
}

func (o *option) supported() bool {
	if _, ok := o.field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return true
	}
	switch o.field.Interface().(type) {
	case string, bool, int, int64, uint16, float64, time.Duration, []string, map[string]string, map[string][]string:
		return true
	}
	return false
}

// set gives the field a new value in place of the old one, wholly.
func (o *option) set(from Source, texts []string) error {
	value, err := o.parse(texts)
	if err != nil {
		return err
	}
	o.field.Set(value)
	o.source = from
	return nil
}

func (o *option) parse(texts []string) (reflect.Value, error) {
	fresh := reflect.New(o.field.Type())
	if u, ok := fresh.Interface().(encoding.TextUnmarshaler); ok {
		err := u.UnmarshalText([]byte(texts[0]))
		if _, level := u.(*slog.Level); level && err != nil {
			err = fmt.Errorf("%q is none of debug, info, warn and error", texts[0])
		}
		return fresh.Elem(), err
	}
	var err error
	switch p := fresh.Interface().(type) {
	case *string:
		*p = texts[0]
	case *bool:
		if *p, err = strconv.ParseBool(texts[0]); err != nil {
			err = fmt.Errorf("%q is neither true nor false", texts[0])
		}
	case *time.Duration:
		*p, err = span.Parse(texts[0])
	case *[]string:
		*p = texts
	case *map[string]string:
		*p, err = pairs(texts)
	case *map[string][]string:
		*p, err = lists(texts)
	default:
		// Numbers: fmt refuses what does not fit into the type.
		if _, scanErr := fmt.Sscanf(texts[0]+"\n", "%v\n", p); scanErr != nil {
			err = fmt.Errorf("%q is no number, or out of range", texts[0])
		}
	}
	return fresh.Elem(), err
}

func pairs(texts []string) (map[string]string, error) {
	m := map[string]string{}
	for _, t := range texts {
		k, v, err := pair(t)
		if err != nil {
			return nil, err
		}
		if _, twice := m[k]; twice {
			return nil, fmt.Errorf("%q is given twice", k)
		}
		m[k] = v
	}
	return m, nil
}

func lists(texts []string) (map[string][]string, error) {
	m := map[string][]string{}
	for _, t := range texts {
		k, v, err := pair(t)
		if err != nil {
			return nil, err
		}
		m[k] = append(m[k], v)
	}
	return m, nil
}

func pair(text string) (key, value string, err error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return "", "", fmt.Errorf("%q is not of the form key=value", text)
	}
	return key, value, nil
}
