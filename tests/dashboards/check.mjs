// Judges the boards by Grafana's own types and units: every key, enumeration and type is one that it knows, and
// nothing is missing that it would fill in by itself, so that a board that was imported and saved is the same file.
//
//   node tests/dashboards/check.mjs        (after `npm ci` in that folder)

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Ajv from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

const here = import.meta.dirname;
const boards = join(here, '../../dashboards');
const types = join(here, 'node_modules/@grafana/schema/dist/types');

// What Grafana writes and reads, and its published types leave out.
const UNTYPED = {
  AnnotationQuery: ['expr', 'step', 'textFormat', 'titleFormat'],
  VariableModel: ['definition'],
};

// The JSON schema of one exported type, in which nothing is allowed that isn't named.
function schema(file, type) {
  const generator = createGenerator({
    path: join(types, file),
    type,
    tsconfig: join(here, 'tsconfig.json'),
    skipTypeCheck: true,
    additionalProperties: false,
    expose: 'all',
    topRef: true,
  });
  const made = generator.createSchema(type);
  for (const [name, keys] of Object.entries(UNTYPED)) {
    const properties = made.definitions[name]?.properties;
    if (properties) for (const key of keys) properties[key] = {};
  }
  return made;
}

const ajv = new Ajv({ allErrors: true, strict: false });
const compiled = new Map();
function validate(what, value, file, type) {
  const key = `${file} ${type}`;
  if (!compiled.has(key)) {
    try {
      compiled.set(key, ajv.compile(schema(file, type)));
    } catch (error) {
      throw new Error(`${file} has no usable ${type}: ${error.message}`);
    }
  }
  const check = compiled.get(key);
  if (check(value)) return [];
  return check.errors
    .map((error) => `${what}${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`);
}

// A panel's own options and field options, which the type of a board leaves open.
function panel(board, panel) {
  const what = `${board}: ${panel.title}: `;
  if (panel.type === 'row') return [];
  const file = `raw/composable/${panel.type.replaceAll('-', '')}/panelcfg/x/types.gen.d.ts`;
  const found = validate(`${what}options`, panel.options, file, 'Options');
  const custom = panel.fieldConfig.defaults.custom;
  if (custom) found.push(...validate(`${what}custom`, custom, file, 'FieldConfig'));
  const used = [
    panel.fieldConfig.defaults.unit,
    ...panel.fieldConfig.overrides.flatMap((override) =>
      override.properties.filter((property) => property.id === 'unit').map((property) => property.value)),
  ];
  found.push(...used.filter((unit) => !units.has(unit)).map((unit) => `${what}no unit is called ${unit}`));
  return found;
}

// Grafana's list, as the text of its package has it: running that needs a browser.
const listed = readFileSync(join(here, 'node_modules/@grafana/data/dist/esm/valueFormats/categories.mjs'), 'utf8');
const units = new Set([...listed.matchAll(/\bid: "([^"]+)"/g)].map((match) => match[1]));
if (units.size < 200) throw new Error(`only ${units.size} units were found`);

const problems = [];
let panels = 0;
for (const file of readdirSync(boards).filter((name) => name.endsWith('.json'))) {
  const board = JSON.parse(readFileSync(join(boards, file), 'utf8'));
  problems.push(...validate(file, board, 'raw/dashboard/x/types.gen.d.ts', 'Dashboard'));
  for (const one of board.panels) {
    problems.push(...panel(file, one));
    panels += 1;
  }
}
for (const problem of problems) console.error(problem);
console.log(`${panels} panels, ${problems.length} problems`);
process.exit(problems.length ? 1 : 0);
