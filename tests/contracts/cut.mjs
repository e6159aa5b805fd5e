// Cuts Microsoft's OpenAPI document of Graph to what concerns compliance management partners, and says in words that a
// validator heeds what the document says in words that it does not:
//
//   node cut.mjs graph.json >cut.json
//
// - The paths get `/v1.0`, which the document has in `servers`: prism looks at paths alone.
// - A schema with a discriminator becomes the choice of its derived schemas, each with its own `@odata.type`.
// - `anyOf: [{$ref}, {type: object, nullable: true}]` is how the document's generator writes "this, or null". Taken as it
//   stands, the second half lets any object pass; it becomes "this, or null".
// - An object has the properties that it is described with, and OData's annotations, and no others: a misspelt name is a
//   violation. Errors are left open, for the concept pages describe more of them than the document does.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { argv, stdout } from 'node:process';

const COLLECTION = '/deviceManagement/complianceManagementPartners';
const REFERENCE = /^#\/components\/([^/]+)\/([^/]+)$/;
const ERRORS = '.ODataErrors.';

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Cuts the document to the collection's paths and the components that they reach; what remains is as it was. */
export function cut(document) {
  const paths = Object.fromEntries(
    Object.entries(document.paths).filter(([path]) => path === COLLECTION || path.startsWith(`${COLLECTION}/`)),
  );
  const components = {};
  const reach = (value, derives) => {
    if (Array.isArray(value)) {
      value.forEach((element) => reach(element, derives));
    } else if (isObject(value)) {
      if (value.$ref) component(value.$ref, derives);
      for (const [key, member] of Object.entries(value)) {
        // Not the mapping: see below.
        if (key !== 'discriminator') reach(member, key === 'allOf');
      }
    }
  };
  const component = (reference, derives) => {
    const [, kind, name] = REFERENCE.exec(reference) ?? [];
    const found = document.components[kind]?.[name];
    if (!found) throw new Error(`the document has no ${reference}`);
    const known = components[kind]?.[name];
    components[kind] ??= {};
    components[kind][name] ??= structuredClone(found);
    if (!known) reach(found, false);
    // A schema that others only derive from is no choice: `entity` would bring the whole of Graph.
    if (!derives) Object.values(found.discriminator?.mapping ?? {}).forEach((derived) => component(derived, true));
  };
  reach(paths, false);
  // A choice of schemas that are not reached is none.
  for (const schema of Object.values(components.schemas)) {
    const mapping = Object.entries(schema.discriminator?.mapping ?? {});
    const reached = mapping.filter(([, derived]) => components.schemas[REFERENCE.exec(derived)[2]]);
    if (reached.length > 0) schema.discriminator.mapping = Object.fromEntries(reached);
    else delete schema.discriminator;
  }
  const { openapi, info } = document;
  return { openapi, info, paths, components };
}

/** Puts into a validator's words what a cut document says in its own. */
export function tighten(document) {
  const { schemas } = document.components;
  const name = (reference) => REFERENCE.exec(reference)[2];
  const tightened = {};
  for (const key of Object.keys(schemas)) {
    tightened[key] = key.includes(ERRORS) ? schemas[key] : closed(schemas, key);
    const mapping = Object.entries(schemas[key].discriminator?.mapping ?? {});
    if (mapping.length > 0) {
      // The schema itself is abstract: what stands where it is asked for is one of these.
      tightened[key] = {
        anyOf: mapping.map(([type, derived]) => {
          const schema = closed(schemas, name(derived));
          schema.properties['@odata.type'] = { type: 'string', enum: [type] };
          return schema;
        }),
      };
    }
  }
  const paths = Object.fromEntries(Object.entries(document.paths).map(([path, item]) => [`/v1.0${path}`, item]));
  return { ...document, paths, components: { ...document.components, schemas: orNull(tightened) } };
}

/** A schema with all that it derives from in one, and no further properties. */
function closed(schemas, key) {
  const parts = [];
  const collect = (schema) => {
    for (const base of schema.allOf ?? []) collect(base.$ref ? schemas[REFERENCE.exec(base.$ref)[2]] : base);
    parts.push(schema);
  };
  collect(schemas[key]);
  if (!parts.some((part) => part.properties)) return schemas[key];
  return structuredClone({
    title: key,
    type: 'object',
    properties: Object.assign({}, ...parts.map((part) => part.properties)),
    required: [...new Set(parts.flatMap((part) => part.required ?? []))],
    patternProperties: { '^([A-Za-z]+)?@odata[.]': {} },
    additionalProperties: false,
  });
}

function orNull(value) {
  if (Array.isArray(value)) return value.map(orNull);
  if (!isObject(value)) return value;
  const [schema, other, ...more] = value.anyOf ?? [];
  if (schema?.$ref && other?.type === 'object' && other.nullable && !other.properties && more.length === 0) {
    return { ...value, anyOf: [schema, { enum: [null] }] };
  }
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, orNull(member)]));
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const document = JSON.parse(readFileSync(argv[2], 'utf8'));
  stdout.write(`${JSON.stringify(tighten(cut(document)), undefined, 2)}\n`);
}
