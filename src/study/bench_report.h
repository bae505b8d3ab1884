/* bench_report.h - gathers what the sections of scripts/bench.sh have left in a folder.
 *
 * Read:    gemm.json, attention.json and growth.json; NAME.json of any other section, and NAME.md, its text for people;
 *          step-CASE.TURN.mm1.json, and .eager.json and .compile.json of the peer: turns of CASE in order from 1;
 *          kernels.tsv: kernel, table, instructions, of the baseline (0: none).
 * Written: bench.json {"machine", "steps": {CASE: {...}}, "kernels", NAME: its object}, and bench.md, tables for
 * people.
 *
 * A ratio is the median over the turns of theirs by ours, as both ran one after the other. */
#ifndef MM1_STUDY_BENCH_REPORT_H
#define MM1_STUDY_BENCH_REPORT_H

#include <mm1/error.h>

/* MM1_E_FORMAT names the file that is not as above.  What is not there is left out. */
MM1_NODISCARD mm1_status mm1_bench_report(const char *dir, mm1_error *err);

#endif
