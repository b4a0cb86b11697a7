// Package editor looks at how editors reach servers by ssh: VS Code and what descends from
// it, and the JetBrains family. It finds their settings, reads them as they do, and judges
// what in them, or in the user's own ssh configuration, keeps an editor from a server that a
// terminal reaches. It changes nothing.
package editor

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tailscale/hujson"
)

// Place is where an editor keeps its settings.
type Place struct {
	Editor string
	// Folder is there where the editor is, File holds its settings, if any were changed.
	Folder, File string
}

// Home is what the places depend on.
type Home struct {
	GOOS      string
	Dir       string // of the user
	XDGConfig string // XDG_CONFIG_HOME, if it is set
	AppData   string // APPDATA on Windows
}

// settings is the folder of all programs' settings.
func (h Home) settings() string {
	switch h.GOOS {
	case "darwin":
		return filepath.Join(h.Dir, "Library", "Application Support")
	case "windows":
		if h.AppData != "" {
			return h.AppData
		}
		return filepath.Join(h.Dir, "AppData", "Roaming")
	}
	if filepath.IsAbs(h.XDGConfig) {
		return h.XDGConfig
	}
	return filepath.Join(h.Dir, ".config")
}

// Places are those of VS Code and its descendants.
func (h Home) Places() (out []Place) {
	for _, e := range []struct{ editor, folder string }{
		{"VS Code", "Code"}, {"VS Code Insiders", "Code - Insiders"}, {"Cursor", "Cursor"}, {"VSCodium", "VSCodium"}, {"Windsurf", "Windsurf"},
	} {
		folder := filepath.Join(h.settings(), e.folder, "User")
		out = append(out, Place{e.editor, folder, filepath.Join(folder, "settings.json")})
	}
	return out
}

// JetBrains matches the files in which its editors keep the ways to servers, one for each
// editor and version.
func (h Home) JetBrains() string {
	return filepath.Join(h.settings(), "JetBrains", "*", "options", "sshConfigs.xml")
}

// Settings are those of VS Code that are about ssh. A nil one is not set.
type Settings struct {
	ConfigFile          string `json:"remote.SSH.configFile"`
	Path                string `json:"remote.SSH.path"`
	UseLocalServer      *bool  `json:"remote.SSH.useLocalServer"`
	EnableRemoteCommand *bool  `json:"remote.SSH.enableRemoteCommand"`
	ConnectTimeout      *int   `json:"remote.SSH.connectTimeout"` // seconds
}

// Read takes settings as VS Code writes them: JSON with comments, and commas too many.
func Read(text []byte) (Settings, error) {
	var s Settings
	if len(strings.TrimSpace(string(text))) == 0 {
		return s, nil
	}
	plain, err := hujson.Standardize(text)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(plain, &s); err != nil {
		return s, fmt.Errorf("a setting of remote.SSH is not of its kind: %w", err)
	}
	return s, nil
}

// Way is one way to a server as JetBrains keeps it.
type Way struct {
	Host       string `xml:"host,attr"`
	Auth       string `xml:"authType,attr"`
	UseOpenSSH bool   `xml:"useOpenSSHConfig,attr"`
}

// ReadJetBrains takes the ways out of a sshConfigs.xml.
func ReadJetBrains(text []byte) ([]Way, error) {
	var file struct {
		Ways []Way `xml:"component>configs>sshConfig"`
	}
	if err := xml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	return file.Ways, nil
}
