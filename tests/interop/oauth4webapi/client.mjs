// Weft's OAuth face as panva's oauth4webapi uses it.  Configuration: one JSON object on standard input; what happened: one on standard output.
import { readFileSync } from "node:fs";
import * as oauth from "oauth4webapi";

const given = JSON.parse(readFileSync(0, "utf8"));
const TYPE = "urn:ietf:params:oauth:token-type:";
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const http = { [oauth.allowInsecureRequests]: true }; // 127.0.0.1
const said = {};

const issuer = new URL(given.issuer);
const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...http }));
const key = await crypto.subtle.importKey("jwk", given.jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
const client = { client_id: "front" };
const onlyIssuer = { [oauth.modifyAssertion]: (_, claims) => { claims.aud = server.issuer; } }; // RFC 7523bis: the issuer, alone
const proven = oauth.PrivateKeyJwt({ key, kid: given.kid }, onlyIssuer);

const known = { recognizedTokenTypes: { n_a: () => {} } }; // RFC 8693 section 2.2.1: what is issued is no access token
const processed = (response) => oauth.processGenericTokenEndpointResponse(server, client, response, known);
const send = async (parameters, options) =>
  processed(await oauth.genericTokenEndpointRequest(server, client, proven, EXCHANGE, parameters, { ...http, ...options }));
const subject = { subject_token: given.person, subject_token_type: `${TYPE}access_token`, scope: "web.search.execute" };
const actor = { actor_token: given.svid, actor_token_type: `${TYPE}jwt` };
const plain = ({ access_token, ...rest }) => rest;

const own = await oauth.processClientCredentialsResponse(
  server, client, await oauth.clientCredentialsGrantRequest(server, client, proven, { scope: "ssf.read", resource: given.backend }, http),
);
said.own = plain(own);
const shown = new Request(given.backend, { headers: { authorization: `Bearer ${own.access_token}` } });
said.validated = await oauth.validateJwtAccessToken(server, shown, given.backend, http); // RFC 9068 section 4, by the JWKS

said.transaction = plain(await send({ ...subject, requested_token_type: `${TYPE}txn_token`, audience: given.trust_domain }));
const obo = await send({ ...subject, ...actor, requested_token_type: `${TYPE}access_token`, resource: given.backend });
said.obo = plain(obo);

// RFC 9449 section 8: the first proof has no nonce, the library keeps the one it is told
const dpop = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
const bind = () => send({ ...subject, ...actor, resource: given.backend }, { DPoP: dpop });
said.bound = plain(await bind().catch((error) => {
  if (!oauth.isDPoPNonceError(error)) throw error;
  said.nonce = error.error;
  return bind();
}));

const look = async () => oauth.processIntrospectionResponse(
  server, client, await oauth.introspectionRequest(server, client, proven, obo.access_token, http),
);
said.introspected = await look();
await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, proven, obo.access_token, http));
while ((said.revoked = await look()).active);

said.refused = {};
for (const [name, wrong] of Object.entries({
  "a type without its token": { actor_token_type: `${TYPE}jwt` },
  "a person as actor": { actor_token: given.person, actor_token_type: `${TYPE}access_token` },
  "an actor of another path": { actor_token: given.tool, actor_token_type: `${TYPE}jwt` },
  "another target": { ...actor, resource: "https://elsewhere.example" },
  "a wider scope": { ...actor, scope: "process.refund" },
})) {
  said.refused[name] = await send({ ...subject, resource: given.backend, ...wrong }).then(() => "granted", (error) => error.error);
}
console.log(JSON.stringify(said));
