import { type AnswerHeaders, jsonAnswer, Refusal, type Request } from '../request.js';

/** distribution-spec, "Error Codes". */
type RegistryErrorCode =
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'BLOB_UPLOAD_UNKNOWN'
  | 'DIGEST_INVALID'
  | 'MANIFEST_BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'SIZE_INVALID'
  | 'UNAUTHORIZED'
  | 'DENIED'
  | 'UNSUPPORTED'
  | 'TOOMANYREQUESTS';

/** An error as registries tell it. */
export function refusal(status: number, code: RegistryErrorCode, message: string, headers?: AnswerHeaders): Refusal {
  return new Refusal(jsonAnswer(status, { errors: [{ code, message }] }, headers), message);
}

/** Several errors of one kind. */
export function refusals(status: number, code: RegistryErrorCode, messages: readonly string[]): Refusal {
  const errors = messages.map((message) => ({ code, message }));
  return new Refusal(jsonAnswer(status, { errors }), messages.join('; '));
}

/** The refusal of a caller who may not do something: a caller without a token is asked for a token. */
export function notAllowed({ access }: Request, what: string): Refusal {
  if (access.isSomebody) return refusal(403, 'DENIED', `this token does not allow to ${what}`);
  return refusal(401, 'UNAUTHORIZED', `a token is needed to ${what}`, CHALLENGE);
}

/** Basic, since every client has it: the token is the password, and the user does not matter. */
export const CHALLENGE: AnswerHeaders = { 'www-authenticate': 'Basic realm="bkcache", charset="UTF-8"' };

export function notSupported(method: string, allowed: readonly string[]): Refusal {
  return refusal(405, 'UNSUPPORTED', `${method} is not supported here`, { allow: allowed.join(', ') });
}
