/** Vitest runs this once: one server and one template database for the whole run. */

import type { TestProject } from 'vitest/node';
import { postgresForTools } from './server.ts';
import { createTemplate, dropTemplate, type Template } from './template.ts';

declare module 'vitest' {
  interface ProvidedContext {
    template: Template;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await postgresForTools();
  const template = await createTemplate(server).catch(async (error) => {
    await server.close();
    throw error;
  });
  project.provide('template', template);
  return async () => {
    await dropTemplate(template);
    await server.close();
  };
}
