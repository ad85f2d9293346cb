"""The published protocols, for users who have their data: ImageNet (FlexIT), COCO (BISON), prompts, PIE-Bench."""
