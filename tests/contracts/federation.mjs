// A token endpoint that exchanges the token of a Kubernetes ServiceAccount, as Entra's federation does: `jose` verifies it by
// the keys that the cluster publishes, for the issuer, the subject and the audience that a federated credential names.
//
// Each request is told as a line: who asked, what the token said, and what became of it.

import { part, serve, settings, tell } from './parts.mjs';

const { createLocalJWKSet, decodeJwt, jwtVerify } = await part('jose');
const keys = createLocalJWKSet(settings.jwks);

async function form(request) {
  let body = '';
  for await (const chunk of request) body += chunk;
  return new URLSearchParams(body);
}

async function exchange(request) {
  const fields = await form(request);
  const assertion = fields.get('client_assertion') ?? '';
  const line = {
    path: request.url,
    clientId: fields.get('client_id'),
    grantType: fields.get('grant_type'),
    scope: fields.get('scope'),
    type: fields.get('client_assertion_type'),
  };
  try {
    line.claims = decodeJwt(assertion);
    await jwtVerify(assertion, keys, {
      issuer: settings.issuer,
      subject: settings.subject,
      audience: settings.audience,
      requiredClaims: ['exp', 'iat'],
    });
    tell({ ...line, granted: true });
    return [200, { token_type: 'Bearer', expires_in: 3599, access_token: 'federated' }];
  } catch (error) {
    tell({ ...line, granted: false, error: error.code, why: error.message });
    return [401, { error: 'invalid_client', error_description: 'The assertion could not be verified.' }];
  }
}

await serve(() => async (request, response) => {
  const [status, answer] = await exchange(request);
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(answer));
});
