/**
 * The URL of the next page in a Link header: RFC 8288, 3. The parameters come in any order, and `rel` may list several
 * relations.
 */
export function nextLink(header: string | undefined): string | undefined {
  for (const [, address, parameters = ''] of (header ?? '').matchAll(/<([^>]*)>((?:\s*;\s*[^",;<]+(?:"[^"]*")?)*)/g)) {
    const [, quoted, bare] = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s",;]+))/i.exec(parameters) ?? [];
    if ((quoted ?? bare ?? '').toLowerCase().split(/\s+/).includes('next')) return address;
  }
  return undefined;
}
