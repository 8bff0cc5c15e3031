/** How a layout is used. */
export interface LayoutSettings {
  /** How long to wait for somebody else's lock, in milliseconds. */
  readonly lockTimeout: number;
  /** Whether what was written has to survive a power cut: every file and folder is synced before it is relied on. */
  readonly durable: boolean;
  /** Whether blobs that are there already are read and checked before they are relied on. */
  readonly heal: boolean;
}

export const DEFAULT_LAYOUT_SETTINGS: LayoutSettings = {
  lockTimeout: 10_000,
  durable: true,
  heal: false,
};
