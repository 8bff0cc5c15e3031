import { randomBytes } from 'node:crypto';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { startAzurite } from './azurite.js';
import type { Server } from './process.js';
import { startS3rver } from './s3rver.js';

/** The types of option strings that lead to buckets. */
export const BUCKET_TYPES = ['s3', 'azblob'] as const;
export type BucketType = (typeof BUCKET_TYPES)[number];

/** A real service of buckets on loopback, by way of the option strings that lead to it. */
export interface BucketService extends Server {
  /** What people call it. */
  readonly service: string;
  /**
   * A bucket of its own, which exists already in S3; in Azure an export makes it.
   *
   * @returns an option string without a name, for imports and exports of bkcache and BuildKit
   */
  bucket(): Promise<string>;
}

/**
 * Starts a service whose objects have the right bytes however they are sent and read: s3rver or Azurite.
 *
 * @param folder - for what it keeps
 */
export async function startBucketService(
  type: BucketType,
  folder: string,
  signal: AbortSignal,
): Promise<BucketService> {
  if (type === 'azblob') {
    const { account, key, url, ...server } = await startAzurite(folder, signal);
    const at = (container: string) =>
      `type=azblob,account_url=${url},account_name=${account},container=${container},secret_access_key=${key}`;
    return { ...server, service: 'Azurite', bucket: () => Promise.resolve(at(newName())) };
  }
  const { accessKey, secretKey, ...server } = await startS3rver(folder, signal);
  const endpoint = `http://${server.host}`;
  const keys = `access_key_id=${accessKey},secret_access_key=${secretKey}`;
  return {
    ...server,
    service: 's3rver',
    async bucket() {
      const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
      const client = new S3Client({ region: 'us-east-1', endpoint, forcePathStyle: true, credentials });
      const name = newName();
      await client.send(new CreateBucketCommand({ Bucket: name }));
      client.destroy();
      return `type=s3,bucket=${name},region=us-east-1,endpoint_url=${endpoint},use_path_style=true,${keys}`;
    },
  };
}

function newName(): string {
  return `bucket-${randomBytes(6).toString('hex')}`;
}
