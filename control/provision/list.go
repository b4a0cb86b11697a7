package provision

import (
	"github.com/cardea-ssh/cardea/control/scim"
	"github.com/cardea-ssh/cardea/store"
)

// list answers a query with what page reads. name is the attribute that the store finds by Name.
func list(q scim.Query, name string, page func(store.ScimQuery) ([]scim.Tree, int, error)) (scim.List, error) {
	if q.Filter == nil {
		rows, total, err := page(store.ScimQuery{Offset: q.Start - 1, Limit: max(1, q.Count)})
		if q.Count == 0 {
			rows = nil
		}
		return scim.NewList(total, q.Start, rows), err
	}
	sq, none := narrow(q.Filter, name)
	var found []scim.Tree
	for sq.Offset = 0; !none; sq.Offset += scanPage {
		sq.Limit = scanPage
		rows, total, err := page(sq)
		if err != nil {
			return scim.List{}, err
		}
		if total > maxScan {
			return scim.List{}, &scim.Error{Status: 400, Type: scim.TooMany,
				Detail: "there are too many to look at each; filter by eq on id, externalId or " + name}
		}
		for _, t := range rows {
			if q.Filter.Matches(t) {
				found = append(found, t)
			}
		}
		if sq.Offset+scanPage >= total {
			break
		}
	}
	from := min(q.Start-1, len(found))
	return scim.NewList(len(found), q.Start, found[from:min(from+q.Count, len(found))]), nil
}

// narrow is what an index can find of a filter; none means that nothing can match.
func narrow(f scim.Filter, name string) (sq store.ScimQuery, none bool) {
	attr, text, ok := scim.Narrow(f)
	if !ok {
		return sq, false
	}
	switch attr {
	case "id":
		sq.ID = text
	case "externalId":
		sq.ExternalID = text
	case name:
		sq.Name = text
	default:
		return sq, false
	}
	return sq, text == ""
}
