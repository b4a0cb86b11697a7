package enclave

import (
	"fmt"
	"strings"
)

// The domains of errors that come out of SecKey.
const (
	osStatus       = "NSOSStatusErrorDomain" // SecBase.h
	cryptoTokenKit = "CryptoTokenKit"        // TKError.h
)

// maxDescription is how much of Apple's own words is told, in bytes: they go into one line.
const maxDescription = 200

// failure is a CFError.
type failure struct {
	domain      string
	code        int
	description string // in the language of the user
}

// reason is what a code means to a person. absent says that this Mac has no Secure Enclave.
type reason struct {
	sentence string
	absent   bool
}

// reason knows the codes that can be expected, and returns nothing for the others.
func (f *failure) reason() reason {
	switch f.domain {
	case osStatus:
		switch f.code {
		case -34018: // errSecMissingEntitlement
			return reason{sentence: "macOS refuses it to a program without an entitlement, which only an Apple developer's signature gives"}
		case -25308: // errSecInteractionNotAllowed
			return reason{sentence: "it is locked until somebody has logged in to this Mac after its start"}
		case -25291: // errSecNotAvailable
			return reason{sentence: "macOS offers it to nobody in this session; log in to the Mac itself once"}
		case -26275: // errSecDecode
			return reason{sentence: "the key is damaged, or of another Mac"}
		case -4: // errSecUnimplemented
			return reason{"this Mac has none", true}
		}
	case cryptoTokenKit:
		switch f.code {
		case -2: // TKErrorCodeCommunicationError
			return reason{sentence: "it does not answer"}
		case -3, -6: // TKErrorCodeCorruptedData, TKErrorCodeObjectNotFound
			return reason{sentence: "the key is damaged, or of another Mac, or this one was erased"}
		case -5, -9: // TKErrorCodeAuthenticationFailed, TKErrorCodeAuthenticationNeeded
			return reason{sentence: "it is locked until somebody has logged in to this Mac after its start"}
		case -1, -7: // TKErrorCodeNotImplemented, TKErrorCodeTokenNotFound
			return reason{"this Mac has none", true}
		}
	}
	return reason{}
}

func (f *failure) Error() string {
	sentence := f.reason().sentence
	if sentence == "" {
		sentence = strings.Join(strings.Fields(f.description), " ")
		sentence = strings.ToValidUTF8(sentence[:min(len(sentence), maxDescription)], "")
	}
	if sentence == "" {
		sentence = "macOS refuses"
	}
	return fmt.Sprintf("%s (%s %d)", sentence, f.domain, f.code)
}

// Is makes errors.Is(f, ErrAbsent) true of a Mac that has no Secure Enclave.
func (f *failure) Is(target error) bool { return target == ErrAbsent && f.reason().absent }
