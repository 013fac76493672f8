// An authorization server that is not ours: oidc-provider, with the two grants it leaves to its host, verified by jose.
// usage: node server.mjs CONFIG.json    prints "ready" and one line per token that it issued or revoked.
import { readFileSync } from 'node:fs';
import https from 'node:https';

import { createLocalJWKSet, jwtVerify } from 'jose';
import Provider, { errors } from 'oidc-provider';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const weft = createLocalJWKSet(config.weft.jwks);
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';

const resource = (name) => {
  const info = config.resources[name];
  if (!info) throw new errors.InvalidTarget();
  return { scope: info.scope, audience: name, accessTokenTTL: info.ttl, accessTokenFormat: 'opaque' };
};

const provider = new Provider(config.issuer, {
  clients: config.clients,
  jwks: config.jwks,
  clientAuthMethods: ['private_key_jwt', 'tls_client_auth', 'client_secret_basic'],
  enabledJWA: { clientAuthSigningAlgValues: ['ES256'] },
  scopes: ['crm.read', 'crm.write'],
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.()?.toString(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_san_uri' &&
        (ctx.socket.getPeerX509Certificate()?.subjectAltName ?? '').split(', ').includes(`URI:${expected}`),
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => undefined,
      getResourceServerInfo: async (ctx, name) => resource(name),
      useGrantedResource: async () => true,
    },
  },
  extraTokenClaims: async (ctx, token) => token.extra,
});

const verified = (token, typ) =>
  jwtVerify(token, weft, { issuer: config.weft.issuer, audience: config.issuer, typ, algorithms: ['ES256'], requiredClaims: ['exp', 'jti'] });
const unique = new Set();
const once = (jti) => {
  if (unique.has(jti)) throw new errors.InvalidGrant('seen before');
  unique.add(jti);
};

async function issue(ctx, gty, accountId, actor) {
  const { client, params } = ctx.oidc;
  const wanted = params.scope ?? '';
  const server = new provider.ResourceServer(params.resource, resource(params.resource));
  const grant = new provider.Grant({ accountId, clientId: client.clientId });
  grant.addResourceScope(params.resource, wanted);
  const token = new provider.AccessToken({ accountId, client, grantId: await grant.save(), gty, scope: wanted });
  token.resourceServer = server;
  token.extra = actor ? { act: { sub: actor } } : undefined;
  ctx.oidc.entity('AccessToken', token);
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: token.tokenType,
    expires_in: token.expiration,
    scope: token.scope,
  };
}

provider.registerGrantType(EXCHANGE, async (ctx) => {
  const { params } = ctx.oidc;
  if (params.subject_token_type !== JWT) throw new errors.InvalidRequest('subject_token_type');
  const subject = (await verified(params.subject_token, 'txn-chain+jwt')).payload;
  once(subject.jti);
  let actor;
  if (params.actor_token) {
    actor = (await verified(params.actor_token, 'JWT')).payload.sub;
    if (subject.may_act?.sub !== actor) throw new errors.InvalidRequest('the subject token lets somebody else act');
  }
  await issue(ctx, 'token_exchange', subject.sub, actor);
}, ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'resource', 'scope']);

provider.registerGrantType(BEARER, async (ctx) => {
  const grant = (await verified(ctx.oidc.params.assertion, 'txn-chain+jwt')).payload;
  once(grant.jti);
  await issue(ctx, 'jwt_bearer', grant.sub, grant.act?.sub);
}, ['assertion', 'resource', 'scope']);

const say = (line) => process.stdout.write(`${line}\n`);
provider.on('client_credentials.saved', (token) => say(`issued client_credentials to ${token.clientId} for ${token.aud}: ${token.scope}`));
provider.on('access_token.saved', (token) => say(`issued ${token.gty} to ${token.clientId} for ${token.aud}: ${token.scope}`));
provider.on('client_credentials.destroyed', (token) => say(`revoked client_credentials of ${token.clientId}`));
provider.on('access_token.destroyed', (token) => say(`revoked ${token.gty} of ${token.clientId}`));
for (const what of ['grant', 'introspection', 'revocation']) {
  provider.on(`${what}.error`, (ctx, error) => say(`refused ${error.error}: ${error.error_description}`));
}
provider.on('server_error', (ctx, error) => say(`failed ${error.message}`));

const tls = { key: readFileSync(config.tls.key), cert: readFileSync(config.tls.cert), ca: readFileSync(config.tls.ca) };
const server = https.createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, provider.callback());
server.listen(config.port, '127.0.0.1', () => say('ready'));
