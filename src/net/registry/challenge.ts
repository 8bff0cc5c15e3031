/** A way to authenticate that a server offers: RFC 9110, 11.6.1. */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** The names are in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

const TOKEN = String.raw`[!#$%&'*+\-.^_\x60|~0-9A-Za-z]+`;
const SCHEME = new RegExp(String.raw`^[\s,]*(${TOKEN})(?=\s|,|$)`);
const PARAMETER = new RegExp(String.raw`^[\s,]*(${TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))`);

/** Reads a WWW-Authenticate header, which may contain several challenges. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  for (let rest = header; rest !== '';) {
    const parameter = challenges.length === 0 ? null : PARAMETER.exec(rest);
    const scheme = parameter === null ? SCHEME.exec(rest) : null;
    if (parameter?.[1] !== undefined) {
      const value = parameter[2]?.replace(/\\(.)/g, '$1') ?? parameter[3] ?? '';
      const last = challenges.at(-1);
      if (last !== undefined) last.parameters[parameter[1].toLowerCase()] = value;
    } else if (scheme?.[1] !== undefined) {
      challenges.push({ scheme: scheme[1].toLowerCase(), parameters: Object.create(null) as Record<string, string> });
    }
    const [matched] = parameter ?? scheme ?? [];
    // Reading stops at the first syntax error; the challenges before it count.
    if (matched === undefined) return challenges;
    rest = rest.slice(matched.length);
  }
  return challenges;
}
