// Verifies tokens by a JWK Set with npm's jose, and signs others. Reads JSON from standard input and writes JSON.
import { createRemoteJWKSet, importJWK, jwtVerify, SignJWT } from "jose";

let input = "";
for await (const chunk of process.stdin) input += chunk;
const { jwksUrl, issuer, audience, tokens, signers, claims } = JSON.parse(input);

const jwks = createRemoteJWKSet(new URL(jwksUrl));
const outcomes = {};
for (const [name, { token, algorithm }] of Object.entries(tokens)) {
  try {
    const options = { issuer, audience, typ: "at+jwt", algorithms: [algorithm] };
    const { payload, protectedHeader } = await jwtVerify(token, jwks, options);
    outcomes[name] = { payload, header: protectedHeader };
  } catch (error) {
    outcomes[name] = { error: error.code };
  }
}

const signed = {};
for (const [name, jwk] of Object.entries(signers)) {
  const header = { alg: jwk.alg, kid: jwk.kid, typ: "at+jwt" };
  signed[name] = await new SignJWT(claims).setProtectedHeader(header).sign(await importJWK(jwk));
}
console.log(JSON.stringify({ outcomes, signed }));
