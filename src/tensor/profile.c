/* profile.c - see profile.h. */
#include "tensor/profile.h"

#include "base/thread.h"
#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "tensor/tensor.h"
#include <string.h>

void mm1_profile_clear(mm1_profile *p)
{
    *p = (mm1_profile){0};
}

void mm1_profile_start(mm1_profile *p)
{
    p->lap_flops = 0;
    p->lap_start = mm1_time_now();
}

static int row_of(mm1_profile *p, const char *name)
{
    int i = 0;
    while (i < p->n_rows && strcmp(p->rows[i].name, name) != 0) {
        i++;
    }
    if (i == MM1_PROFILE_ROWS) {
        return i - 1;
    }
    if (i == p->n_rows) {
        p->rows[i].name = name;
        p->n_rows++;
    }
    return i;
}

static void end_lap(mm1_profile *p, mm1_profile_cell *cell, int64_t floats)
{
    const double now = mm1_time_now();
    cell->calls++;
    cell->seconds += now - p->lap_start;
    cell->flops += p->lap_flops;
    cell->bytes += sizeof(float) * (double)floats;
    p->lap_start = now;
    p->lap_flops = 0;
}

int mm1_profile_lap(mm1_profile *p, const char *name, mm1_pass pass, int64_t floats)
{
    const int row = row_of(p, name);
    end_lap(p, &p->rows[row].pass[pass], floats);
    return row;
}

double mm1_profile_seconds(const mm1_profile *p)
{
    double sum = 0;
    for (int i = 0; i < p->n_rows; i++) {
        sum += p->rows[i].pass[MM1_PASS_FORWARD].seconds + p->rows[i].pass[MM1_PASS_BACKWARD].seconds;
    }
    return sum;
}

double mm1_profile_product_seconds(const mm1_profile *p)
{
    if (p->gemm_flops == 0) {
        return 0;
    }
    const double attention = p->attention_flops * p->gemm_seconds / p->gemm_flops;
    return p->gemm_seconds + (attention < p->attention_seconds ? attention : p->attention_seconds);
}

/* ---- the tape ---- */

void mm1__tape_lap(mm1_tape *t, const char *name, int64_t floats, int64_t floats_back)
{
    t->lap = (mm1_tape_lap){.row = mm1_profile_lap(t->profile, name, MM1_PASS_FORWARD, floats), .floats = floats_back};
}

void mm1__tape_lap_back(mm1_tape *t, const mm1_node *node)
{
    end_lap(t->profile, &t->profile->rows[node->lap.row].pass[MM1_PASS_BACKWARD], node->lap.floats);
}

void mm1__tape_gemm(mm1_tape *t, const mm1_gemm_args *args)
{
    mm1_profile *p = t->profile;
    mm1_gemm_args g = *args;
    g.rows = t->rows;
    if (p == NULL) {
        mm1_gemm(&g);
        return;
    }
    const double start = mm1_time_now(), flops = 2.0 * (double)args->M * (double)args->N * (double)args->K;
    mm1_gemm(&g);
    p->gemm_seconds += mm1_time_now() - start;
    p->gemm_flops += flops;
    p->lap_flops += flops;
}

double mm1__tape_clock(const mm1_tape *t)
{
    return t->profile != NULL ? mm1_time_now() : 0;
}

void mm1__tape_attended(mm1_tape *t, const mm1_attention_args *args, double start, double flops_a_pair)
{
    mm1_profile *p = t->profile;
    if (p == NULL) {
        return;
    }
    p->attention_seconds += mm1_time_now() - start;
    double pairs = 0;
    for (int64_t i = 0; i < args->B * args->T; i++) {
        const int64_t lo = args->lo[i] > 0 ? args->lo[i] : 0, hi = args->hi[i] < args->S ? args->hi[i] : args->S;
        pairs += hi > lo ? (double)(hi - lo) : 0;
    }
    const double flops = pairs * flops_a_pair * (double)(args->H * args->D);
    p->attention_flops += flops;
    p->lap_flops += flops;
}
