/* part_init.c - see part_init.h. */
#include "train/part_init.h"

#include "base/log.h"
#include <string.h>

static mm1_status other_shape(const char *dir, const mm1_param *want, const mm1_param *has, mm1_error *err)
{
    const mm1_tensor *w = &want->tensor;
    if (has == NULL) {
        return mm1_error_set(err, MM1_E_SHAPE, "%s has no \"%s\"", dir, want->name);
    }
    return mm1_error_set(err, MM1_E_SHAPE,
                         "%s: \"%s\" has %lld values in rows of %lld, the recipe's has %lld in rows of "
                         "%lld",
                         dir, want->name, (long long)has->n, (long long)mm1_tensor_cols(&has->tensor),
                         (long long)want->n, (long long)mm1_tensor_cols(w));
}

static bool same_shape(const mm1_tensor *a, const mm1_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

/* Pixels that are prepared in another way mean something else to an encoder. */
static void compare_pictures(const char *dir, const mm1_image_config *want, const mm1_image_config *has)
{
    const double differ = memcmp(&want->mean, &has->mean, sizeof has->mean) != 0 ||
                          memcmp(&want->std, &has->std, sizeof has->std) != 0 || want->fit != has->fit ||
                          want->filter != has->filter || want->crop_share != has->crop_share;
    if (differ) {
        mm1_log(MM1_LOG_WARN, "init.vision: %s was trained with other values of model.image than this recipe has", dir);
    }
}

static mm1_status init_group(mm1_model *m, mm1_param_group group, const char *dir, mm1_error *err)
{
    mm1_model from;
    int64_t n = 0;
    /* Positions become those of the recipe's resolution. */
    const bool sees = group != MM1_GROUP_DECODER && mm1_model_config_has_vision(&m->config);
    mm1_status st = mm1_model_load_at(&from, dir, sees ? m->config.vision.image_size : 0, false, err);
    for (int64_t i = 0; st == MM1_OK && i < m->params.n_items; i++) {
        mm1_param *want = m->params.items[i];
        if (want->group != group) {
            continue;
        }
        const mm1_param *has = mm1_params_find(&from.params, want->name);
        if (has == NULL || !same_shape(&want->tensor, &has->tensor)) {
            st = other_shape(dir, want, has, err);
        } else {
            memcpy(want->tensor.data, has->tensor.data, (size_t)has->n * sizeof *has->tensor.data);
            n += has->n;
        }
    }
    if (st == MM1_OK && n == 0) {
        st = mm1_error_set(err, MM1_E_CONFIG, "model.kind: this kind of model has no %s", mm1_param_group_name(group));
    }
    if (st == MM1_OK) {
        if (group == MM1_GROUP_VISION) {
            compare_pictures(dir, &m->config.image, &from.config.image);
        }
        mm1_log(MM1_LOG_INFO, "%s: %lld values from %s", mm1_param_group_name(group), (long long)n, dir);
    }
    mm1_model_deinit(&from);
    return st == MM1_OK ? st : mm1_error_wrap(err, st, "init.%s", mm1_param_group_name(group));
}

static mm1_status init_model(mm1_model *m, const char *dir, mm1_error *err)
{
    const mm1_status st = mm1_model_load_values(m, dir, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "init.model");
    }
    mm1_log(MM1_LOG_INFO, "model: %lld values from %s", (long long)mm1_params_count(&m->params, MM1_GROUP_COUNT), dir);
    return MM1_OK;
}

mm1_status mm1_part_init(mm1_model *m, const mm1_init_config *config, mm1_error *err)
{
    const struct {
        mm1_param_group group;
        const char *dir;
    } parts[] = {{MM1_GROUP_VISION, config->vision},
                 {MM1_GROUP_CONNECTOR, config->connector},
                 {MM1_GROUP_DECODER, config->decoder}};
    mm1_status st = config->model != NULL ? init_model(m, config->model, err) : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < sizeof parts / sizeof *parts; i++) {
        st = parts[i].dir != NULL ? init_group(m, parts[i].group, parts[i].dir, err) : MM1_OK;
    }
    return st;
}
