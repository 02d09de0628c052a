/** `npm run docs`: writes the pages of docs/ that are generated. */

import { writeFile } from 'node:fs/promises';
import { openDatabase } from '../src/database.ts';
import { postgresForTools } from '../test/support/server.ts';
import { createTemplate, dropTemplate } from '../test/support/template.ts';
import { commandsPage } from './docs/commands.ts';
import { configurationPage } from './docs/configuration.ts';
import { sqlReferencePage } from './docs/sql-reference.ts';

/** The page of the functions and views, from a database that is migrated for it. */
async function sqlReference(): Promise<string> {
  const server = await postgresForTools();
  const template = await createTemplate(server);
  const url = new URL(template.url);
  url.pathname = `/${template.name}`;
  const database = openDatabase({ connectionString: url.href, max: 1 });
  try {
    return await sqlReferencePage(database.execute);
  } finally {
    await database.close();
    await dropTemplate(template);
    await server.close();
  }
}

async function write(name: string, text: string): Promise<void> {
  await writeFile(new URL(`../docs/${name}`, import.meta.url), text);
  console.log(`docs/${name}`);
}

await write('commands.md', commandsPage());
await write('configuration.md', configurationPage());
await write('sql-reference.md', await sqlReference());
