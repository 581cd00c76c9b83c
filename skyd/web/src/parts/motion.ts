// Whether the user prefers less motion.

export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
