/* Contrastive training: the loss and its gradients against plain code and differences, micro-batches against the whole
 * batch, and runs that learn, stop, go on and end in the same bits. */
#include "encoder_fixture.h"

#include "train/info_nce.h"

enum { N = 7, D = 5 };

/* From the definition, in f64; pairs of one key are left out of each other's sums. */
static double plain_loss(const double *a, const double *b, const uint64_t *key, double log_scale, int i)
{
    double rows = 0, columns = 0, own = 0;
    for (int j = 0; j < N; j++) {
        double row = 0, column = 0;
        for (int d = 0; d < D; d++) {
            row += a[i * D + d] * b[j * D + d];
            column += a[j * D + d] * b[i * D + d];
        }
        if (j == i || key[i] != key[j]) {
            rows += exp(exp(log_scale) * row);
            columns += exp(exp(log_scale) * column);
        }
        own = j == i ? exp(log_scale) * row : own;
    }
    return (log(rows) + log(columns)) / 2 - own;
}

static double plain_sum(const double *a, const double *b, const uint64_t *key, double log_scale)
{
    double sum = 0;
    for (int i = 0; i < N; i++) {
        sum += plain_loss(a, b, key, log_scale, i);
    }
    return sum;
}

static void info_nce_is_its_definition_and_its_gradients_are_those_of_the_loss(void **state)
{
    (void)state;
    static const uint64_t key[N] = {3, 4, 3, 5, 6, 3, 7};
    float ab[2][N * D], grads[2][N * D], loss[N], logits[N * N], lse[2 * N];
    double x[2][N * D];
    mm1_error err = {0};
    check_ok(mm1_kernels_init(NULL, &err), &err);
    for (int s = 0; s < 2; s++) {
        check_fill(ab[s], N * D, -1, 1, (uint64_t)(7 + s));
        for (int i = 0; i < N * D; i++) {
            x[s][i] = ab[s][i];
        }
    }
    const double log_scale = 0.4, weight = 0.3, eps = 1e-5;
    mm1_info_nce nce = {.n = N,
                        .D = D,
                        .a = ab[0],
                        .b = ab[1],
                        .key = key,
                        .log_scale = log_scale,
                        .weight = weight,
                        .loss = loss,
                        .da = grads[0],
                        .db = grads[1],
                        .logits = logits,
                        .lse = lse};
    mm1_info_nce_run(&nce);
    for (int i = 0; i < N; i++) {
        assert_true(fabs(loss[i] - plain_loss(x[0], x[1], key, log_scale, i)) < 1e-5);
    }
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < N * D; i++) {
            const double kept = x[s][i];
            x[s][i] = kept + eps;
            const double above = plain_sum(x[0], x[1], key, log_scale);
            x[s][i] = kept - eps;
            const double below = plain_sum(x[0], x[1], key, log_scale);
            x[s][i] = kept;
            assert_true(fabs(grads[s][i] - weight * (above - below) / (2 * eps)) < 1e-5);
        }
    }
    const double slope =
        (plain_sum(x[0], x[1], key, log_scale + eps) - plain_sum(x[0], x[1], key, log_scale - eps)) / (2 * eps);
    assert_true(fabs(nce.d_log_scale - weight * slope) < 1e-5);
}

static void pairs_are_found_where_nothing_else_is_as_near(void **state)
{
    (void)state;
    /* Unit vectors: 0 and 1 find each other, 2 and 3 are the same, and 2's key is 3's in the second round. */
    const float a[4 * 2] = {1, 0, 0, 1, -1, 0, -1, 0};
    float loss[4], logits[16], lse[8], da[8], db[8];
    for (int round = 0; round < 2; round++) {
        const uint64_t key[4] = {0, 1, 2, round == 0 ? 3 : 2};
        mm1_info_nce nce = {.n = 4,
                            .D = 2,
                            .a = a,
                            .b = a,
                            .key = key,
                            .log_scale = 4,
                            .weight = 1,
                            .loss = loss,
                            .da = da,
                            .db = db,
                            .logits = logits,
                            .lse = lse};
        mm1_info_nce_run(&nce);
        assert_int_equal(nce.n_right_a, round == 0 ? 2 : 4);
        assert_int_equal(nce.n_right_b, round == 0 ? 2 : 4);
        /* Twins that are each other's negatives keep the loss at ln 2. */
        assert_true(fabs(loss[2] - (round == 0 ? log(2) : 0)) < 1e-4);
    }
}

static void gradients_are_those_of_the_loss(void **state)
{
    (void)state;
    encoder_run r;
    encoder_step s;
    encoder_run_init(&r);
    encoder_step_init(&s, &r);
    encoder_step_check_gradients(&s);
    encoder_step_deinit(&s);
    encoder_run_deinit(&r);
}

static void micro_batches_change_no_gradient(void **state)
{
    (void)state;
    encoder_run r;
    encoder_run_init(&r);
    assert_true(encoder_check_micro_batches(&r) > 9); /* both kinds of rows */
    encoder_run_deinit(&r);
}

static void a_run_learns_stops_and_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    encoder_run r;
    encoder_run_init(&r);
    encoder_check_runs(&r);
    encoder_run_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_nce_is_its_definition_and_its_gradients_are_those_of_the_loss),
        cmocka_unit_test(pairs_are_found_where_nothing_else_is_as_near),
        cmocka_unit_test(gradients_are_those_of_the_loss),
        cmocka_unit_test(micro_batches_change_no_gradient),
        cmocka_unit_test(a_run_learns_stops_and_goes_on_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
