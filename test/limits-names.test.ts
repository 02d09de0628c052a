import { describe, expect, test } from 'vitest';
import { parseConfig } from '../src/config.ts';
import { limitsOf } from '../src/limits/compile.ts';
import { written, writtenName } from '../src/limits/names.ts';

describe('names', () => {
  test.each([
    ['runs@staging', [], 'runs@staging'],
    ['runs.tag.customer=*', ['default', 'acme'], 'runs.tag.customer=*{default,acme}'],
    ['executor.tag.size=*', ['7', 'big'], 'executor.tag.size=*{7,big}'],
    ['pool.*', ['warehouse', 'pr-1'], 'pool.*{warehouse,pr-1}'],
    ['runs.tag.a=*', ['default', ''], 'runs.tag.a=*{default,""}'],
    ['runs.tag.a=*', ['default', 'a,b'], 'runs.tag.a=*{default,"a,b"}'],
    ['runs.tag.a=*', ['x}', 'say "hi"\n'], 'runs.tag.a=*{"x}","say \\"hi\\"\\n"}'],
    ['branches.tag.a=*', ['ü😀'], 'branches.tag.a=*{"ü😀"}'],
  ])('%s of %j is %s', (name, values, expected) => {
    expect(writtenName(name, values)).toBe(expected);
  });

  test('a value is plain unless it could be misread', () => {
    expect(written('aZ09_./:@+-')).toBe('aZ09_./:@+-');
    for (const value of ['', '*', 'a b', 'a=b', 'a{', 'a,b', 'ä', 'a\n']) {
      expect(written(value)).toBe(JSON.stringify(value));
    }
  });

  test("a tag's value in a limit's own name is written in the same way", () => {
    const tag_concurrency_limits = ['*', '', 'a b', 'acme@eu+1'].map((value) => ({
      key: 'c',
      value,
      limit: 1,
    }));
    const { runs, branch_deployments } = {
      runs: { tag_concurrency_limits },
      branch_deployments: { branch_deployment_tag_concurrency_limits: tag_concurrency_limits },
    };
    expect(limitsOf(parseConfig({ concurrency: { runs } })).map(({ name }) => name)).toEqual([
      'runs.tag.c="*"',
      'runs.tag.c=""',
      'runs.tag.c="a b"',
      'runs.tag.c=acme@eu+1',
    ]);
    expect(limitsOf(parseConfig({ concurrency: { branch_deployments } }))[0]?.name).toBe(
      'branches.tag.c="*"',
    );
  });
});
