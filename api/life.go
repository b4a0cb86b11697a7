package api

// AccountSettings are how the accounts of a project's servers come and go.
type AccountSettings struct {
	// Accounts: create makes an account for everybody with a grant; on-demand makes
	// it when a certificate for that server is asked for; existing makes none, and
	// uses those that the server's administrator has named in its configuration.
	Accounts string `json:"accounts,omitempty" enum:"create,existing,on-demand" default:"create"`
	// AccountSeconds is how long an account on demand lives after the last
	// certificate; a day by default. What runs under it then comes to its end first.
	AccountSeconds int `json:"account_seconds,omitempty" minimum:"0" maximum:"31536000"`
	// Removal: what becomes of an account whose person may not enter any more. It is
	// locked at once in any case.
	Removal string `json:"removal,omitempty" enum:"lock,remove" default:"lock"`
	// RemovalHome is what becomes of the home of an account that is removed.
	RemovalHome string `json:"removal_home,omitempty" enum:"keep,archive,delete" default:"archive"`
	// RemovalSeconds is how long after that accounts are removed; 30 days by default.
	RemovalSeconds *int `json:"removal_seconds,omitempty" minimum:"0" maximum:"315360000"`
	// SharedAccount is the one account of all who have a grant as user. Each
	// certificate still says who it is.
	SharedAccount string `json:"shared_account,omitempty"`
	// SharedAdminAccount is that of those who have one as administrator.
	SharedAdminAccount string `json:"shared_admin_account,omitempty"`
}

// AccountPatch changes them; nil leaves a field alone.
type AccountPatch struct {
	Accounts           *string `json:"accounts,omitempty" enum:"create,existing,on-demand"`
	AccountSeconds     *int    `json:"account_seconds,omitempty" minimum:"0" maximum:"31536000"`
	Removal            *string `json:"removal,omitempty" enum:"lock,remove"`
	RemovalHome        *string `json:"removal_home,omitempty" enum:"keep,archive,delete"`
	RemovalSeconds     *int    `json:"removal_seconds,omitempty" minimum:"0" maximum:"315360000"`
	SharedAccount      *string `json:"shared_account,omitempty" doc:"the empty string gives everybody an account of his own again"`
	SharedAdminAccount *string `json:"shared_admin_account,omitempty"`
}
