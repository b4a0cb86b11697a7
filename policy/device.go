package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/cardea-ssh/cardea/internal/span"
)

// DeviceRule is something that a project demands of the devices from which people enter.
type DeviceRule string

// The rules. That a rule holds is the device's own word: whoever rules the machine can have
// it say anything. They keep out who forgot, not who lies.
const (
	RuleDiskEncryption DeviceRule = "disk-encryption"
	RuleScreenLock     DeviceRule = "screen-lock"
	RuleHardwareKey    DeviceRule = "hardware-key" // its key is in a TPM or a Secure Enclave
)

// PeopleOnly stands among the rules of a project and demands nothing: with it the others are
// for people. Without it programs, which have no screen and no word of their own, stay out:
// who demanded something of all devices has not thought of those that cannot have it.
const PeopleOnly DeviceRule = "people-only"

// DeviceRules are all of them.
func DeviceRules() []DeviceRule {
	return []DeviceRule{RuleDiskEncryption, RuleScreenLock, RuleHardwareKey}
}

// KnownRule tells whether there is such a rule.
func KnownRule(r DeviceRule) bool { return slices.Contains(DeviceRules(), r) }

// demands are the rules that have to hold, without PeopleOnly.
func (p Project) demands() []DeviceRule {
	return slices.DeleteFunc(slices.Clone(p.DeviceRules), func(r DeviceRule) bool { return r == PeopleOnly })
}

// ReportAge is how long it counts what a device said of itself: it says so at each sign-in,
// and none lasts longer. A client of today says it with each next token, too.
const ReportAge = 25 * time.Hour

// Word is what a device answers to a rule. Anything but Yes is not enough.
type Word string

// The words.
const (
	Yes Word = "yes"
	No  Word = "no"
)

// Posture is what a device last said of itself, rule by rule. The zero value has said
// nothing.
type Posture struct {
	At    time.Time
	Words map[DeviceRule]Word
}

// wants is a rule as a part of sentences about the devices that it lets in.
func (r DeviceRule) wants() string {
	return map[DeviceRule]string{
		RuleDiskEncryption: "whose disk is encrypted", RuleScreenLock: "whose screen locks itself", RuleHardwareKey: "whose key is in a TPM or Secure Enclave",
	}[r]
}

// lacks is why a rule does not hold; empty if it does.
func (p Posture) lacks(r DeviceRule, now time.Time) string {
	switch {
	case !KnownRule(r):
		return "this control plane does not know that rule"
	case p.At.IsZero():
		return "this one has said nothing of itself"
	case !now.Before(p.At.Add(ReportAge)):
		return "what this one said of itself is older than " + span.Text(ReportAge)
	case p.Words[r] == No:
		return "this one says of itself that it is not so"
	case p.Words[r] != Yes:
		return "this one does not know that of itself"
	}
	return ""
}

// approvedByHand is for projects that take no device on the word of its owner alone.
func approvedByHand(f Facts) (Decision, bool) {
	if f.Project.DeviceApproval && !f.Device.Approved && !f.User.Program {
		return deny(DeviceUnapproved, f.tell("ask an administrator to type: cardea admin devices approve "+f.Device.ID, "approve the one that he has; to see it type: cardea admin devices list"),
			"project %s is for devices that an administrator approved, and nobody approved this one", f.Project.Name)
	}
	return Decision{}, true
}

func postureGood(f Facts) (Decision, bool) {
	if f.User.Program {
		return programEnters(f)
	}
	for _, r := range f.Project.demands() {
		if why := f.Device.Posture.lacks(r, f.Now); why != "" {
			return deny(DevicePosture, f.tell("see what it says with: cardea device show; once that is right type: cardea login", "he sees what it says with: cardea device show"),
				"project %s is for devices %s, and %s", f.Project.Name, r.shown(), why)
		}
	}
	return Decision{}, true
}

func programEnters(f Facts) (Decision, bool) {
	demands := f.Project.demands()
	if len(demands) == 0 || slices.Contains(f.Project.DeviceRules, PeopleOnly) {
		return Decision{}, true
	}
	return deny(DevicePosture, "ask an administrator to add the rule "+string(PeopleOnly)+", or to keep what programs reach in a project of its own",
		"project %s is for devices %s, and a program has none that could say so", f.Project.Name, demands[0].shown())
}

func (r DeviceRule) shown() string {
	if text := r.wants(); text != "" {
		return text
	}
	return fmt.Sprintf("that fulfil %q", string(r))
}

func approvedText(f Facts) string {
	if f.User.Program {
		return "an administrator let the program sign in"
	}
	return "an administrator approved the device"
}

// deviceFacts are those of what the project demands of devices, if anything.
func deviceFacts(f Facts) []Fact {
	var out []Fact
	if f.Project.DeviceApproval {
		out = append(out, told(f, approvedByHand, Fact{Kind: FactApproval, ID: f.Device.ID, Text: approvedText(f)}))
	}
	demands := f.Project.demands()
	if len(demands) == 0 {
		return out
	}
	if f.User.Program {
		return append(out, told(f, postureGood, Fact{Kind: FactPosture, ID: f.Device.ID, Text: "what the project demands of devices is for people"}))
	}
	p := f.Device.Posture
	posture := told(f, postureGood, Fact{Kind: FactPosture, ID: f.Device.ID, Text: "the device is as the project demands, by its own word"})
	if posture.Holds {
		posture.Until = p.At.Add(ReportAge)
	}
	for _, r := range demands {
		why := p.lacks(r, f.Now)
		rule := Fact{Kind: FactRule, Name: string(r), Holds: why == "", Text: "by the device's own word: yes"}
		if why != "" {
			rule.Text = why
		}
		posture.Under = append(posture.Under, rule)
	}
	return append(out, posture)
}
