/* Positions of a grid of patches at other sizes, against PyTorch (tools/golden_vision.py). */
#include "support/golden.h"

#include "nn/position_grid.h"

static void positions_of_any_size_become_what_pytorch_interpolates(void **state)
{
    (void)state;
    mm1_safetensors *sf = golden_open(MM1_TEST_DATA "/vision/positions.safetensors");
    int n_cases = 0;
    double worst = 0;
    for (size_t i = 0; i < mm1_safetensors_n(sf); i++) {
        long long first, side, to;
        const mm1_safetensors_tensor *y = mm1_safetensors_at(sf, i);
        if (sscanf(y->name, "to.%lld.%lld.%lld", &first, &side, &to) != 3) {
            continue;
        }
        char name[40];
        (void)snprintf(name, sizeof name, "from.%lld.%lld", first, side);
        const mm1_safetensors_tensor *x = golden_get(sf, "", name);
        assert_int_equal(y->shape[0], first + to * to);
        float *from = golden_floats(x), *want = golden_floats(y);
        float *got = mm1_alloc((size_t)y->n_elements, sizeof *got);
        mm1_position_grid_resize(got, to, from, side, first, y->shape[1]);
        check_close(got, want, y->n_elements, 1e-6, 1e-6);
        if (to == side) {
            assert_memory_equal(got, from, y->n_bytes);
        }
        worst = fmax(worst, golden_error(got, want, y->n_elements, NULL));
        mm1_free(got);
        mm1_free(want);
        mm1_free(from);
        n_cases++;
    }
    print_message("%d grids, at most %.2g off\n", n_cases, worst);
    assert_int_equal(n_cases, 14);
    mm1_safetensors_close(sf);
}

static void only_squares_after_the_first_rows_are_grids(void **state)
{
    (void)state;
    mm1_params params = {0};
    mm1_error err = {0};
    assert_non_null(mm1__position_grid_create(4, 1, 3, &params, MM1_GROUP_VISION, "pos"));
    assert_non_null(
        mm1_params_add(&params, MM1_GROUP_VISION, MM1_INIT_ZEROS, 0, false, 2, (int64_t[]){17, 3}, "other"));
    check_ok(mm1_params_alloc(&params, false, &err), &err);
    const mm1_param *pos = params.items[0], *other = params.items[1];
    assert_int_equal(mm1_tensor_rows(&pos->tensor), 17);
    assert_int_equal(mm1_position_grid_side(pos, 17), 4);
    assert_int_equal(mm1_position_grid_side(pos, 730), 27);
    assert_int_equal(mm1_position_grid_side(pos, 2), 1);
    static const int64_t none[] = {-5, 0, 1, 3, 16, 18, INT64_MAX};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(mm1_position_grid_side(pos, none[i]), 0);
    }
    assert_int_equal(mm1_position_grid_side(other, 17), 0);
    mm1_params_deinit(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_of_any_size_become_what_pytorch_interpolates),
        cmocka_unit_test(only_squares_after_the_first_rows_are_grids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
