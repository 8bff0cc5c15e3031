/** How a layout is used. */
export interface LayoutSettings {
  /** How long to wait for the lock of another process, in milliseconds. */
  readonly lockTimeout: number;
  /** Whether every file and folder is synced before something depends on it, so that it survives a power cut. */
  readonly durable: boolean;
  /** Whether blobs that are there already are read and checked before they are relied on. */
  readonly heal: boolean;
}

export const DEFAULT_LAYOUT_SETTINGS: LayoutSettings = {
  lockTimeout: 10_000,
  durable: true,
  heal: false,
};

/** How long gc leaves a blob alone that nothing refers to, after its last change; in milliseconds. */
export const DEFAULT_GRACE = 3_600_000;
