import test, { type ExecutionContext } from 'ava';
import { sha256 } from '../../src/oci/digest.js';
import { bkcache } from '../support/command.js';
import { FakeS3, refuse } from '../support/fake-s3.js';
import { fixture } from '../support/fixtures.js';

/** A service with the bucket that BuildKit has written, and the string for it. */
async function bucket(t: ExecutionContext) {
  const fake = await FakeS3.start(t);
  const place = fake.fill();
  return { fake, place };
}

test('a bucket is listed and verified by its string, and its secret is not shown', async (t) => {
  const { fake, place } = await bucket(t);
  const listed = await bkcache(['list', place]);
  t.is(listed.code, 0, listed.stderr);
  t.regex(listed.stdout, /^TAG .*AGE +LAST MODIFIED\ntiny .* 2026-11-27T00:00:00Z\nrequests: 1 list, 1 get\n$/);
  const sound = await bkcache(['verify', '--json', place]);
  t.is(sound.code, 0, sound.stderr);
  t.like(JSON.parse(sound.stdout), { sound: true, tags: 1, blobs: 7, read: 1 });
  const [lost = ''] = [...fake.objects.keys()];
  fake.objects.delete(lost);
  for (const string of [place, `${place},name=tiny`]) {
    const { code, stdout, stderr } = await bkcache(['verify', string]);
    t.is(code, 4, stderr);
    t.regex(stdout, /a blob is missing/);
    t.regex(stdout, /1 thing is wrong/);
    t.notRegex(`${stdout}${stderr}`, /hush/);
  }
  t.is((await bkcache(['verify', `${place},name=nobody`])).code, 3);
  t.false(
    fake.seen.some((line) => !/^(?:GET|HEAD) /.test(line)),
    'nothing is written',
  );
});

test('names are pruned from a bucket, and blobs stay', async (t) => {
  const { fake, place } = await bucket(t);
  fake.objects.set('manifests/pr-7', fake.objects.get('manifests/tiny') ?? Buffer.of());
  const before = new Map(fake.objects);
  const rules = ['prune', '--untag', 'pr-*', place];
  const dry = await bkcache([...rules, '--dry-run']);
  t.is(dry.code, 0, dry.stderr);
  t.regex(
    dry.stdout,
    /^would be dropped: pr-7 \(untag, last used 2026-11-27T00:00:00.000Z: the time of its manifest\)$/m,
  );
  t.deepEqual(fake.objects, before);
  const done = await bkcache(rules);
  t.is(done.code, 0, done.stderr);
  t.regex(done.stdout, /^note: no blob was freed/m);
  t.notRegex(`${done.stdout}${done.stderr}`, /hush/);
  before.delete('manifests/pr-7');
  t.deepEqual(fake.objects, before);
  const wrong = await bkcache([...rules, '--grace', '1d']);
  t.is(wrong.code, 2);
  t.regex(wrong.stderr, /a grace period is for gc/);
  t.is((await bkcache(['prune', '--untag', 'x', `${place},name=tiny`])).code, 2, 'name= selects one cache');
});

test('gc of a bucket needs to be told of all names, and frees in two runs', async (t) => {
  const { fake, place } = await bucket(t);
  const garbage = `blobs/${sha256('garbage')}`;
  // Written by no request, and so at the first second of a past day.
  fake.objects.set(garbage, Buffer.from('garbage'));
  fake.written.set(fake.objects.get(garbage) ?? Buffer.of(), Date.now() - 10 * 86_400_000);
  const before = new Map(fake.objects);
  const untold = await bkcache(['gc', place]);
  t.is(untold.code, 2);
  t.regex(untold.stderr, /hint: .*--manifests-prefix manifests\//);
  const told = ['gc', '--manifests-prefix', 'manifests/', place];
  const dry = await bkcache([...told, '--dry-run']);
  t.is(dry.code, 0, dry.stderr);
  t.regex(dry.stdout, /would be moved to quarantine: 7 B in 1 blob/);
  t.deepEqual(fake.objects, before);
  const done = await bkcache([...told, '--json']);
  t.is(done.code, 0, done.stderr);
  t.like(JSON.parse(done.stdout), { setAside: { count: 1, bytes: 7 }, removed: { count: 0 }, live: { count: 6 } });
  t.notRegex(`${done.stdout}${done.stderr}`, /hush/);
  const copy = fake.objects.get(`blobs/.bkcache/quarantine/${sha256('garbage')}`) ?? Buffer.of();
  t.is(copy.toString(), 'garbage');
  t.false(fake.objects.has(garbage));
  fake.written.set(copy, Date.now() - 3 * 86_400_000);
  t.regex((await bkcache(told)).stdout, /^freed: 7 B \(1 blob\)$/m);
  before.delete(garbage);
  t.deepEqual(fake.objects, before);
  t.is((await bkcache(['gc', '--manifests-prefix', 'x', fixture('grown')])).code, 2, 'a folder has no prefixes');
});

test('a bucket whose listing is refused is not verified', async (t) => {
  const { fake, place } = await bucket(t);
  fake.fault = ({ query }, answer) => {
    if (!query.has('list-type')) return false;
    refuse(answer, 403, 'AccessDenied');
    return true;
  };
  const { code, stdout, stderr } = await bkcache(['verify', place]);
  t.is(code, 1);
  t.is(stdout, '');
  t.regex(stderr, /s3:ListBucket/);
  const one = await bkcache(['verify', `${place},name=tiny`]);
  t.is(one.code, 0, one.stderr);
});

test('a string that is nearly one of a bucket gets an error that says what to write', async (t) => {
  const cases = [
    ['type=s3,bucket=team/sub,region=r', /^bkcache: .*bucket=team\/sub is not the name.*\n  hint: .*prefix=/],
    ['type=s3,bucket=team,region=us east', /region=us east is not a region/],
    ['type=azblob,account_url=https://a.blob.core.windows.net/box', /hint: the container belongs into container=/],
  ] as const;
  for (const [text, said] of cases) {
    const { code, stderr } = await bkcache(['list', text]);
    t.is(code, 2, stderr);
    t.regex(stderr, said);
  }
  t.regex((await bkcache(['list', 's3://team/main'])).stderr, /hint: a bucket is written type=s3,bucket=team,region=…/);
});
