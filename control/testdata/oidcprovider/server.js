// A certified identity provider (OpenID Connect) for the tests, on a loopback address.
//
//	node server.js PORT REDIRECT-URI...
//
// It prints a line when it listens. Each line on its stdin is an order, which it answers
// with a line when it is done:
//
//	{"account": "alice", "claims": {…}}   what it says of an account from now on
//	{"rotate": true}                       sign with another key, and publish no other
//
// Whoever types an account's name at its sign-in page is that account, with any password.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import * as oidc from 'oidc-provider';

const [port, ...redirects] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const accounts = new Map();
let keys = 0;

// The library keeps what it knows in this process for all its instances, so another one
// with another key goes on where the last one was.
function provider() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  keys += 1;
  return new oidc.Provider(issuer, {
    clients: [{ client_id: 'cardea', client_secret: 'the secret of the client', redirect_uris: redirects }],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: `key-${keys}`, use: 'sig', alg: 'RS256' }] },
    cookies: { keys: ['a key for cookies'] },
    pkce: { required: () => true },
    claims: {
      openid: ['sub', 'preferred_username', 'groups'],
      profile: ['name'],
      email: ['email', 'email_verified'],
    },
    async findAccount(ctx, id) {
      return { accountId: id, claims: async () => ({ preferred_username: id, ...accounts.get(id), sub: id }) };
    },
    // Nobody is asked whether we may have his name.
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid profile email');
      await grant.save();
      return grant;
    },
  }).callback();
}

let serve = provider();
createServer((req, res) => serve(req, res)).listen(Number(port), '127.0.0.1', () => console.log('listening'));
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line);
    if (order.account) accounts.set(order.account, order.claims);
    if (order.rotate) serve = provider();
    console.log('done');
  })
  .on('close', () => process.exit(0)); // the test is gone
