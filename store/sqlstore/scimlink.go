package sqlstore

import (
	"fmt"

	"github.com/cardea-ssh/cardea/audit"
	"github.com/cardea-ssh/cardea/store"
)

// linkUser makes the identity that signs in that of the user whom a client made for it, once.
// What the caller saw of him is looked at again: what the client says changes at any time.
func (t *tx) linkUser(v store.Federated, p store.Provider) (store.User, error) {
	rows, err := all(t, userInto, `SELECT `+userColumns+` FROM scim_users s JOIN users u ON u.id = s.user_id JOIN scim_clients c ON c.id = s.client_id
		WHERE c.id = ? AND c.provider = ? AND c.state = 'active' AND s.external_id = ? AND u.status <> 'deleted'`, v.Link.Client, p.ID, v.Link.ExternalID)
	if err != nil {
		return store.User{}, err
	}
	if len(rows) != 1 || rows[0].ID != v.User.ID || rows[0].Issuer != store.ScimIssuer(v.Link.Client) || rows[0].Status != store.Active {
		return store.User{}, fmt.Errorf("the user is not the one whom the client means any more: %w", store.ErrDenied)
	}
	u := rows[0]
	u.Issuer, u.Subject = v.User.Issuer, v.User.Subject
	err = t.must(store.ErrDenied, `UPDATE users SET issuer = ?, subject = ? WHERE id = ? AND issuer = ?`, u.Issuer, u.Subject, u.ID, store.ScimIssuer(v.Link.Client))
	t.touch(store.UserTopic(u.ID))
	t.note(audit.UserLink, u.ID, v.Source, map[string]string{"provider": p.ID, "subject": u.Subject, "client": v.Link.Client, "external_id": v.Link.ExternalID})
	return u, err
}
