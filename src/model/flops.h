/* flops.h - what the mathematics of a model costs: multiply-adds counted as two operations, for reports of efficiency
 * and for plans.  Norms, activations and softmax are not counted. */
#ifndef MM1_MODEL_FLOPS_H
#define MM1_MODEL_FLOPS_H

#include "model/model.h"

/* Forward pass of one image through encoder and connector. */
typedef struct mm1_image_flops {
    double vision, connector;
    double blocks; /* of vision: without the embedding of patches */
} mm1_image_flops;

mm1_image_flops mm1_flops_image(const mm1_model_config *c);
/* The same of an encoder that reads K patches of an image, and of a text tower that reads N tokens (attention left out:
 * texts are short). */
double mm1_flops_vision(const mm1_vision_config *v, double K);
double mm1_flops_text(const mm1_text_config *c, double N);
/* Its attention over pairs of patches that see each other, if they are not all K K. */
double mm1_flops_vision_attention(const mm1_vision_config *v, double n_pairs);
/* The head that predicts one patch. */
double mm1_flops_pixel_head(const mm1_model_config *c);
/* Forward pass of one position through the decoder's matrices, head left out; of experts those that it goes to. */
double mm1_flops_position(const mm1_model_config *c);
/* Forward pass of attention over an example of n positions, causal: only what is seen counts. */
double mm1_flops_causal_attention(const mm1_model_config *c, double n);
/* Forward pass of the head for one target. */
double mm1_flops_head(const mm1_model_config *c);

/* Which parts are trained: a frozen encoder costs no backward pass, and what lies below everything trained neither.  Of
 * adapters alone the products are left out, and there are no gradients of the weights. */
typedef struct mm1_trained_parts {
    bool vision, connector, decoder;
    bool adapters_only;
} mm1_trained_parts;

/* Those with parameters that take gradients. */
mm1_trained_parts mm1_flops_trained(const mm1_model *m);

/* A whole training step of this batch: padding costs nothing, attention what it sees, the head what has a target. */
double mm1_flops_step(const mm1_model_config *c, const mm1_batch *b, mm1_trained_parts parts);

#endif
