import { min } from '../../graph/min.js';
import { replaceBlobs } from '../../graph/replace.js';
import type { ExportResult } from './copy.js';
import { edit } from './edit.js';
import type { Export } from './export.js';
import { noteDockerZstd, noteForeign } from './notes.js';
import { planBlobs } from './plan.js';
import { check, publicationOf, publish } from './publication.js';
import { transfer } from './transfer.js';

/** What an export comes to, but for the time that it takes. */
export type RunResult = Omit<ExportResult, 'duration'>;

/** An export whose layers are at the target. */
export interface StagedExport {
  /** Makes the layers a cache. */
  publish(): Promise<RunResult>;
}

/** One export, in its steps. */
export async function runExport(job: Export): Promise<RunResult> {
  return (await stageExport(job)).publish();
}

/** The steps of an export before it is published, for several exports that are published together. */
export async function stageExport(job: Export): Promise<StagedExport> {
  const { target, request, options } = job;
  const { graph: edited, images } = edit(job);
  const plans = images === undefined ? await planBlobs(edited, job) : [];
  noteForeign(plans, options.onNote);
  check(edited, plans, job);
  const { replacements, ...transferred } = await transfer(plans, job);
  const graph = replaceBlobs(edited, replacements);
  const publication = publicationOf(graph, job);
  return {
    async publish() {
      const descriptor = await publish(publication, plans, replacements, job);
      noteDockerZstd(publication, target.name, options.onNote);
      return {
        target: target.name,
        descriptor,
        mode: min(graph) === graph ? 'min' : 'max',
        shape: request.shape,
        layers: graph.layers.length,
        records: graph.records.length,
        ...(images === undefined ? {} : { images }),
        ...transferred,
      };
    },
  };
}
