// An OpenID-certified provider in the place of Entra's token endpoint: `oidc-provider`, at the path that Entra has.
//
// The settings name a client by its secret, or by the certificate that it proves to have the key of. Each request for a
// token is told as a line: who asked, how, for what, what the assertion said, and what became of it.

import { X509Certificate, createHash } from 'node:crypto';

import { part, serve, settings, tell } from './parts.mjs';

const { Provider } = await part('oidc-provider');
const { decodeJwt, decodeProtectedHeader } = await part('jose');

const client = {
  client_id: settings.clientId,
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
};

/** What a person uploads to Entra: the certificate alone. Its key and its thumbprint are read from it here. */
function registered(pem) {
  const certificate = new X509Certificate(pem);
  const thumbprint = createHash('sha256').update(certificate.raw).digest('base64url');
  return { ...certificate.publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'PS256', 'x5t#S256': thumbprint };
}

if (settings.clientCertificate) {
  client.token_endpoint_auth_method = 'private_key_jwt';
  client.token_endpoint_auth_signing_alg = 'PS256';
  client.jwks = { keys: [registered(settings.clientCertificate)] };
} else {
  client.token_endpoint_auth_method = 'client_secret_post';
  client.client_secret = settings.clientSecret;
}

await serve((origin) => {
  const token = `/${settings.tenant}/oauth2/v2.0/token`;
  const provider = new Provider(`${origin}/${settings.tenant}/v2.0`, {
    clients: [client],
    clientAuthMethods: ['client_secret_post', 'private_key_jwt'],
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    routes: { token },
    scopes: [settings.scope],
  });
  const told = (ctx, outcome) => {
    const { params = {} } = ctx.oidc ?? {};
    const line = {
      ...outcome,
      clientId: params.client_id,
      grantType: params.grant_type,
      scope: params.scope,
      by: ctx.oidc?.client?.clientAuthMethod,
    };
    if (params.client_assertion) {
      line.header = decodeProtectedHeader(params.client_assertion);
      line.claims = decodeJwt(params.client_assertion);
      line.thumbprint = client.jwks?.keys[0]['x5t#S256'];
      line.endpoint = `${origin}${token}`;
    }
    tell(line);
  };
  provider.on('grant.success', (ctx) => told(ctx, { granted: true }));
  provider.on('grant.error', (ctx, error) => told(ctx, { granted: false, error: error.error, why: error.error_detail }));
  provider.on('server_error', (ctx, error) => told(ctx, { granted: false, error: 'server_error', why: `${error}` }));
  return provider.callback();
});
