import type { SpaceLimits } from './folder/blob-upload.js';
import type { UploadLimits } from './uploads.js';

/** What clients may use of a server. */
export interface ServerLimits extends SpaceLimits, UploadLimits {
  readonly maxConnections: number;
  /** How long a connection may stand still during a request, in milliseconds. A slow client never stands still. */
  readonly stall: number;
  /** How long a connection may stay open between two requests, in milliseconds. */
  readonly keepAlive: number;
  /** How long the headers of a request may take, in milliseconds. */
  readonly headers: number;
  /** The size of all headers of a request, in bytes. */
  readonly maxHeaderSize: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  maxBlobSize: 128 * 1024 ** 3,
  keepFree: 1024 ** 3,
  maxUploads: 256,
  uploadExpiry: 3_600_000,
  maxConnections: 1024,
  stall: 60_000,
  keepAlive: 120_000,
  headers: 60_000,
  maxHeaderSize: 32 * 1024,
};
