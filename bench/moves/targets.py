# SPDX-License-Identifier: Apache-2.0
"""What a comparison was to reach, beside what it found. A target: name, value (None: not measured), want, better (at least,
at most), ok."""


def print_targets(targets):
    print("| target | found | want | |\n|---|---|---|---|")
    for target in targets:
        found = "not measured" if target["value"] is None else target["value"]
        print(f"| {target['name']} | {found} | {target['better']} {target['want']} | "
              f"{'reached' if target['ok'] else 'MISSED'} |")
