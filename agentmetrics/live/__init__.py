"""What agents do now: scrapes, one after another, as rates, ages and marks, to be looked at."""
