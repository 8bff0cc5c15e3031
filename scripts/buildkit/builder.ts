/** What BuildKit has to build. */
export interface BuildRequest {
  /** Folder of the build context. */
  readonly context: string;
  /** A stage of the Dockerfile; the last one by default. */
  readonly target?: string | undefined;
  /** This machine's by default. */
  readonly platforms?: readonly string[] | undefined;
  /** Build arguments of the Dockerfile. */
  readonly args?: Readonly<Record<string, string>> | undefined;
  /** Import strings, as `--cache-from` and `--import-cache` take them. */
  readonly cacheFrom?: readonly string[] | undefined;
  /** Export strings, as `--cache-to` and `--export-cache` take them. */
  readonly cacheTo?: readonly string[] | undefined;
  /** Whether the image comes with a provenance attestation. */
  readonly provenance?: boolean | undefined;
  /** Where the image goes, as `--output` takes it. */
  readonly output: string;
}

/** A BuildKit that judges: the one in a dockerd, or a buildkitd. Paths mean the same to it and to the checks. */
export interface Builder {
  /** How people call it. */
  readonly name: string;
  /** Its release: 25 for BuildKit 0.25. Some kinds of damage are done by some releases only. */
  readonly release: number;
  /** Whether it takes type=s3 and type=azblob. */
  readonly hasBuckets: boolean;
  /** Whether it takes type=gha: version 1 of the service, and from BuildKit 0.20 on version 2. */
  readonly hasGha: boolean;

  /**
   * Forgets all that it has built or imported.
   *
   * @throws Error when something stays
   */
  forget(): Promise<void>;

  /**
   * Starts with empty state in a new process. A build that failed on a damaged cache leaves things in BuildKit 0.13 that
   * no prune removes, and that make later builds fail; and some caches kill the process.
   */
  renew(): Promise<void>;

  /**
   * Builds an image.
   *
   * @returns the progress, as `--progress=rawjson` prints it
   * @throws CommandError when the build fails
   */
  build(request: BuildRequest): Promise<string>;

  /** Whether the process of BuildKit is alive. */
  isAlive(): boolean;

  stop(): Promise<void>;
}
