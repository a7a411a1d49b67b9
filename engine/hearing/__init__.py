"""What is made of sound that comes in: levels, onsets and beats, as functions of its samples alone."""
