package api

// FactorNobody is the word of TeamSettings.SecondFactor for nobody.
const FactorNobody = "nobody"

// TeamSettings are what the team demands of those who sign in: GET /v1/team/settings.
type TeamSettings struct {
	SessionSeconds int `json:"session_seconds" doc:"how long a sign-in of a device lasts"`
	IdleSeconds    int `json:"idle_seconds" doc:"how long it may go unused; 0 is no limit"`
	// SecondFactor says which local accounts must have one.
	SecondFactor   string `json:"second_factor" enum:"nobody,admins,all" doc:"which local accounts must have a second factor"`
	DeviceCode     bool   `json:"device_code" doc:"devices without a browser may be signed in by a typed code; never by administrators"`
	DeviceApproval bool   `json:"device_approval" doc:"an administrator approves new devices"`
}

// TeamPatch changes them: PATCH /v1/team/settings. SessionSeconds counts for sign-ins from
// then on, IdleSeconds for all at once.
type TeamPatch struct {
	SessionSeconds *int    `json:"session_seconds,omitempty" minimum:"3600" maximum:"90000"`
	IdleSeconds    *int    `json:"idle_seconds,omitempty" minimum:"0" maximum:"90000"`
	SecondFactor   *string `json:"second_factor,omitempty" enum:"nobody,admins,all"`
	DeviceCode     *bool   `json:"device_code,omitempty"`
	DeviceApproval *bool   `json:"device_approval,omitempty"`
}
