/** Template databases of a run of tests or of a tool: those of the test kit. */

export {
  type Clone,
  cloneTemplate,
  createTemplate,
  dropTemplate,
  type Template,
} from '../../src/testing/template.ts';
