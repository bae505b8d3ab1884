/* Configurations with the keys of well-known published models (tests/data/hub): every key is understood, and all that
 * they say gives as many parameters as transformers counts. */
#include "support/check.h"

#include "model/model.h"

#define HUB MM1_TEST_DATA "/hub/"

static const struct {
    const char *name;
    mm1_model_kind kind;
    int64_t n_parameters;         /* as transformers counts; what we do not read is subtracted */
    int64_t image_size, n_tokens; /* 0: takes no pictures, has no connector */
} MODELS[] = {
    {"clip-vit-base-patch32", MM1_MODEL_CLIP, 151277313, 224, 0},
    {"clip-vit-large-patch14-336", MM1_MODEL_CLIP, 427944193, 336, 0},
    /* without the text tower */
    {"siglip-base-patch16-224", MM1_MODEL_ENCODER, 92884224, 224, 0},
    {"siglip-so400m-patch14-384", MM1_MODEL_ENCODER, 428225600, 384, 0},
    {"siglip2-base-patch16-224", MM1_MODEL_ENCODER, 92884224, 224, 0},
    /* without the token of hidden patches, and positions of the processor's grid */
    {"dinov2-base", MM1_MODEL_ENCODER, 86580480 - 768 - (37 * 37 - 16 * 16) * 768, 224, 0},
    {"gpt2", MM1_MODEL_DECODER, 124439808, 0, 0},
    {"llama-2-7b", MM1_MODEL_DECODER, 6738415616, 0, 0},
    {"llama-3.2-1b", MM1_MODEL_DECODER, 1235814400, 0, 0},
    {"smollm2-135m-instruct", MM1_MODEL_DECODER, 134515008, 0, 0},
    {"mistral-7b-v0.1", MM1_MODEL_DECODER, 7241732096, 0, 0},
    {"qwen2.5-0.5b", MM1_MODEL_DECODER, 494032768, 0, 0},
    {"qwen3-0.6b", MM1_MODEL_DECODER, 596049920, 0, 0},
    {"mixtral-8x7b-v0.1", MM1_MODEL_DECODER, 46702792704, 0, 0},
    {"olmoe-1b-7b-0924", MM1_MODEL_DECODER, 6919161856, 0, 0},
    /* without the encoder's last block and its norm, which LLaVA does not compute */
    {"llava-1.5-7b", MM1_MODEL_MM1, 7063427072 - 12598272, 336, 576},
    {"llava-v1.6-mistral-7b", MM1_MODEL_MM1, 7566747648 - 12598272, 336, 576},
    {"idefics3-8b-llama3", MM1_MODEL_MM1, 8462086384, 364, 169},
    {"smolvlm-instruct", MM1_MODEL_MM1, 2246272880, 384, 81},
    {"smolvlm-256m-instruct", MM1_MODEL_MM1, 256484928, 512, 64},
    {"smolvlm2-500m-video-instruct", MM1_MODEL_MM1, 507482304, 512, 64},
};
enum { N_MODELS = sizeof MODELS / sizeof *MODELS };

static void a_published_configuration_is_understood_in_full(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        mm1_error err = {0};
        mm1_model_config c;
        mm1_model m;
        char dir[300];
        (void)snprintf(dir, sizeof dir, HUB "%s", MODELS[i].name);
        check_ok(mm1_model_config_read(&c, dir, &err), &err);
        assert_int_equal(c.kind, MODELS[i].kind);
        if (c.decoder.positions == MM1_POSITIONS_ROPE) {
            c.decoder.max_positions = 16; /* a table of them takes time, and is no parameter */
        }
        check_ok(mm1_model_init(&m, &c, &err), &err);
        const int64_t n = mm1_params_count(&m.params, MM1_GROUP_COUNT);
        if (n != MODELS[i].n_parameters) {
            print_error("%s: %lld parameters, %lld are wanted\n", MODELS[i].name, (long long)n,
                        (long long)MODELS[i].n_parameters);
            fail();
        }
        assert_int_equal(mm1_model_config_has_vision(&c) ? c.vision.image_size : 0, MODELS[i].image_size);
        assert_int_equal(c.kind == MM1_MODEL_MM1 ? c.connector.n_tokens : 0, MODELS[i].n_tokens);
        mm1_model_deinit(&m);
    }
}

/* What changes numbers and not shapes. */
static void numbers_of_published_configurations_arrive(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double eps, theta, factor;
        int64_t window;
        bool normalize;
    } models[] = {{"llama-2-7b", 1e-5, 10000, 1, 0, false},          {"llama-3.2-1b", 1e-5, 500000, 32, 0, false},
                  {"smollm2-135m-instruct", 1e-5, 1e5, 1, 0, false}, {"mistral-7b-v0.1", 1e-5, 10000, 1, 4096, false},
                  {"qwen2.5-0.5b", 1e-6, 1e6, 1, 0, false},          {"qwen3-0.6b", 1e-6, 1e6, 1, 0, false},
                  {"mixtral-8x7b-v0.1", 1e-5, 1e6, 1, 0, true},      {"olmoe-1b-7b-0924", 1e-5, 10000, 1, 0, false},
                  {"llava-1.5-7b", 1e-5, 10000, 1, 0, false},        {"llava-v1.6-mistral-7b", 1e-5, 1e6, 1, 0, false},
                  {"smolvlm-instruct", 1e-5, 273768, 1, 0, false}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        mm1_error err = {0};
        mm1_model_config c;
        char dir[300];
        (void)snprintf(dir, sizeof dir, HUB "%s", models[i].name);
        check_ok(mm1_model_config_read(&c, dir, &err), &err);
        const mm1_decoder_config *d = &c.decoder;
        if (d->norm_eps != models[i].eps || d->rope_theta != models[i].theta ||
            (d->rope_scaling.type != MM1_ROPE_PLAIN ? d->rope_scaling.factor : 1) != models[i].factor ||
            d->sliding_window != models[i].window ||
            (d->moe.n_experts > 0 && d->moe.normalize != models[i].normalize)) {
            print_error("%s: eps %g, theta %g, window %lld\n", models[i].name, d->norm_eps, d->rope_theta,
                        (long long)d->sliding_window);
            fail();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_published_configuration_is_understood_in_full),
        cmocka_unit_test(numbers_of_published_configurations_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
